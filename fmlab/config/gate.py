"""The gate that every composed config passes: which keys of Hydra may be set, where files may go, what a file may hold.

It stands in Hydra's loader, at the three places where foreign text comes in: overrides before the search path is
read, each config file when it is loaded, and the whole before it is used.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ResultDefault
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from fmlab.config.folders import expanded, leaves
from fmlab.config.hydra_internals import ConfigFiles, ExtensibleLoader
from fmlab.config.hydra_keys import check_file, check_overrides
from fmlab.errors import FmlabError, choices
from fmlab.plugin import registry
from fmlab.terminal.escaping import escaped_line
from fmlab.untrusted.parsing import check_yaml, read_text

_FOLDERS = ("hydra.run.dir", "hydra.sweep.dir")
_SWEEPER = ("hydra.sweeper.folder", "hydra.sweeper.storage", "hydra.sweeper.study")
_INSIDE = ("hydra.sweep.subdir", "hydra.output_subdir", "hydra.job.name", "hydra.sweeper.study")  # also where typed
_NAME = re.compile(r"[\w][\w.+-]{0,199}", re.ASCII)
_VALUES = 20_000  # in a config file
_LONGEST = 20_000  # characters of an override
_NO_PATHS = ("tags",)  # shown, never opened
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class CheckedFiles(ConfigFiles):
    """Hydra's config files, each of bounded size: aliases of YAML can make gigabytes of a few lines."""

    def check_file(self, path: Path) -> None:
        """Raise FmlabError for a file that is too large, or nested too deep."""
        try:
            check_yaml(read_text(path), _VALUES)
        except (OSError, UnicodeError):  # Hydra says so
            pass
        except ValueError as error:
            raise FmlabError(f"config file {path} {error}") from None


class GuardedLoader(ExtensibleLoader):
    """Hydra's loader, which composes only what the gate lets through; raises FmlabError."""

    def __init__(
        self, path: ConfigSearchPath, own: Path, environment: Mapping[str, str], typed: Sequence[str] | None
    ) -> None:
        """`own`: the folder of fmlab's own configs. `typed`: the user's overrides; None: all that are given are."""
        super().__init__(path)
        self._own, self._environment, self.typed = f"file://{own}", environment, typed

    def keys_typed(self, overrides: Sequence[str]) -> set[str]:
        """Keys of the options that the user gave a value; a choice in a group, `experiment=x`, is none."""
        return self.keys_of(overrides if self.typed is None else self.typed)

    def keys_of(self, overrides: Sequence[str]) -> set[str]:
        """Keys of the options that overrides give a value."""
        keys = {line.lstrip("+").partition("=")[0] for line in overrides}
        return {k for k in keys if "/" not in k and "@" not in k and ("." in k or not self.repository.group_exists(k))}

    def check_overrides(self, overrides: Sequence[Override]) -> None:
        """Raise FmlabError for a key of `hydra.*` that is not accepted, or a search path that is not one of folders."""
        lines = [str(o.input_line) for o in overrides]
        keys = self.keys_typed(lines) if any(o.key_or_group.split(".")[0] == "hydra" for o in overrides) else ()
        check_overrides(overrides, lambda key: key in keys)
        for override in overrides:
            if override.key_or_group == "hydra.searchpath":
                _check_search_path(override.value())

    def check_primary(self, name: str, config: DictConfig) -> None:
        """Raise FmlabError for a search path in the primary config."""
        try:
            found = OmegaConf.select(config, "hydra.searchpath")
        except OmegaConfBaseException:
            found = "an interpolation"
        if found:
            raise FmlabError(
                "hydra.searchpath is for the command line, not for a config file, got it in "
                f"{name}: type hydra.searchpath=[file:///a/folder], or --config-dir"
            )

    def check_config(self, default: ResultDefault, result: ConfigResult) -> None:
        """Raise FmlabError for a key of `hydra.*` that a config file may not set."""
        config = result.config
        if isinstance(config, DictConfig) and "hydra" in config and not self._belongs(default, result):
            check_file(config._get_node("hydra"), f"{default.config_path} of {result.path}")

    def _belongs(self, default: ResultDefault, result: ConfigResult) -> bool:
        """Whether a config is Hydra's part as fmlab, Hydra or an installed plugin of Hydra ships it, in its place."""
        shipped = (
            result.provider in ("hydra", "schema")
            or result.path == self._own
            or result.path.startswith(("structured://", "pkg://hydra_plugins."))
        )
        path = str(default.config_path)
        own_place = (None, "", "_global_", "hydra", path.rpartition("/")[0].replace("/", "."))
        return shipped and (path.startswith("hydra/") or bool(default.primary)) and default.package in own_place

    def check_folders(self, config: DictConfig, overrides: Sequence[str]) -> None:
        """Check where Hydra would write; raises FmlabError."""
        typed = self.keys_typed(overrides)
        values = _selected(config, dict.fromkeys((*_FOLDERS, *_INSIDE, *_SWEEPER)))
        if config.hydra.job.env_set or config.hydra.job.env_copy:
            raise FmlabError("hydra.job.env_set and hydra.job.env_copy are refused: a config sets no variables")
        for key, value in values.items():
            if key == "hydra.sweeper.storage" and key not in typed and "://" in value:
                raise FmlabError(
                    f"{key} of a config file must be a file in the working folder, got a URL; type storage="
                )
            if escaped_line(value) != value:
                raise FmlabError(f"{key} must be a name without control characters, got {value!r}")
            own = "" if key in _INSIDE or key not in typed else value
            if key == "hydra.job.name" and not _NAME.fullmatch(value):
                raise FmlabError(f"{key} must be letters, digits and _.-, got {value!r}")
            if own and ".." in value.split("/") and ".." not in str(_raw(config, key)).split("/"):
                raise FmlabError(f"{key} must be the folder that was typed, got {value!r} from an interpolation")
            if not own and (leaves(value, {}) or Path(value) == Path() or "~" in value.split("/")[0]):
                hint = "" if key in _INSIDE else f"; type {key}=... to use another place"
                raise FmlabError(f"{key} must stay inside the working folder, got {value!r}{hint}")
            if key in _FOLDERS and value.startswith("~"):
                with open_dict(config.hydra):
                    OmegaConf.update(config, key, expanded(value, key))

    def check_paths(self, config: Mapping[str, Any], overrides: Sequence[str], renamed: Mapping[str, str]) -> None:
        """Check the options of a run, resolved: those of files name no server and no place outside the working folder.

        `renamed`: new names of options that were given by their old ones.
        """
        typed = {renamed.get(key, key) for key in self.keys_typed(overrides)}
        for key, value in _texts(config, ""):
            if key in typed or key.partition(".")[0] in _NO_PATHS:
                continue
            if leaves(value, self._environment):
                raise FmlabError(
                    f"{key} of a config file must stay inside the working folder, got {value!r}; type {key}=... on the "
                    "command line to use another place"
                )
            if _URL.match(value):  # options, figures and the credentials of a client go there
                raise FmlabError(f"{key} of a config file must name no server, got {value!r}; type {key}=... to use it")


def _selected(config: DictConfig, keys: Iterable[str]) -> dict[str, str]:
    """Values as the run will have them; where a part is known later, such as the number of a job, the text of now."""
    found = {}
    before = HydraConfig.instance().cfg
    try:
        HydraConfig.instance().set_config(config)  # copies the part of Hydra, which takes a while
        for key in keys:
            try:
                found[key] = OmegaConf.select(config, key, throw_on_missing=True)
            except OmegaConfBaseException:
                found[key] = _raw(config, key)
    finally:
        HydraConfig.instance().cfg = before
        OmegaConf.set_readonly(config.hydra, None)
    return {key: str(value) for key, value in found.items() if value is not None}


def _raw(config: DictConfig, key: str) -> Any:
    parent, _, last = key.rpartition(".")
    group = OmegaConf.select(config, parent)
    node = group._get_node(last) if isinstance(group, DictConfig) else None
    return None if node is None or node._is_none() else node._value()


def _texts(tree: Any, prefix: str) -> list[tuple[str, str]]:
    """Dotted keys and texts; elements of a list have the key of the list."""
    if isinstance(tree, Mapping):
        return [pair for key, value in tree.items() for pair in _texts(value, f"{prefix}.{key}".lstrip("."))]
    if isinstance(tree, list | tuple):
        return [pair for value in tree for pair in _texts(value, prefix)]
    return [(prefix, tree)] if isinstance(tree, str) else []


def refuse_long(override: str) -> None:
    """Raise FmlabError for an override that Hydra's parser would work on for minutes."""
    if len(override) > _LONGEST:
        raise FmlabError(
            f"an argument must have at most {_LONGEST:,} characters, got {len(override):,}: {override:.60}...; "
            "a config file holds long lists"
        )


def _check_search_path(entries: Any) -> None:
    """Folders that a person names, and config packages that are installed: nothing is imported from elsewhere."""
    for entry in entries if isinstance(entries, list) else [entries]:
        scheme, mark, place = str(entry).rpartition("://")
        if mark and scheme == "pkg":
            known = [e.value.replace(":", ".") for e in registry.config_folders()]
            name = place.replace("/", ".").strip(".")
            if not any(name == k or name.startswith(f"{k}.") for k in known):
                rule = "hydra.searchpath takes pkg:// of an installed fmlab.conf package"
                raise FmlabError(f"{rule}, got {entry}; {choices(name, known)}")
        elif (mark and scheme != "file") or not Path(place).is_dir():
            raise FmlabError(f"hydra.searchpath must be a list of folders, file://... or pkg://..., got {entry!r}")
