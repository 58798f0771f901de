"""What `fmlab --help` prints."""

from collections.abc import Iterator, Sequence
from string import Template

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigSource
from omegaconf import DictConfig


def help_text(config: DictConfig, loader: ConfigLoader) -> str:
    """The template of `conf/hydra/help`, filled in with the groups and options of a composed config."""
    sources = [source for source in loader.get_sources() if source.provider != "hydra"]  # that has no other groups
    groups = "".join(f"{group}: {', '.join(names)}\n" for group, names in sorted(_groups(sources)))
    return Template(config.hydra.help.template).substitute(APP_CONFIG_GROUPS=groups)


def _groups(sources: Sequence[ConfigSource], parent: str = "") -> Iterator[tuple[str, list[str]]]:
    """Groups of configs at any depth, and the names in them, without those of Hydra."""
    for name in sorted({name for source in sources for name in source.list(parent, ObjectType.GROUP)}):
        group = f"{parent}/{name}" if parent else name
        if group == "hydra":
            continue
        having = [source for source in sources if source.is_group(group)]
        if names := {name for source in having for name in source.list(group, ObjectType.CONFIG)}:
            yield group, sorted(names)
        yield from _groups(having, group)
