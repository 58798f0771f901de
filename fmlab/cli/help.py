"""What `fmlab --help` prints."""

from collections.abc import Iterator
from string import Template

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig


def help_text(config: DictConfig, loader: ConfigLoader) -> str:
    """The template of `conf/hydra/help`, filled in with the groups and options of a composed config."""
    groups = "".join(f"{group}: {', '.join(names)}\n" for group, names in sorted(_groups(loader)))
    return Template(config.hydra.help.template).substitute(APP_CONFIG_GROUPS=groups)


def _groups(loader: ConfigLoader, parent: str = "") -> Iterator[tuple[str, list[str]]]:
    """Groups of configs at any depth, and the names in them, without those of Hydra."""
    for name in loader.list_groups(parent):
        group = f"{parent}/{name}" if parent else name
        if group == "hydra":
            continue
        if names := loader.get_group_options(group, ObjectType.CONFIG):
            yield group, sorted(names)
        yield from _groups(loader, group)
