"""Sources of configs: installed plugins as Hydra config groups, the files of `sweeps/`, and folders of packages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from fmlab.config.gate import CheckedFiles
from fmlab.config.plugin_defaults import GROUPS, listed, plugins_and_values
from fmlab.plugin import registry
from fmlab.plugin.option import REQUIRED
from fmlab.plugin.source import locate

_VALUES = "_values_"
LOGGER = "logger"  # a kind of plugin, of which some stand in `conf/`
SELECTED = (*GROUPS, LOGGER)


class PluginSource(ConfigSource):
    """Group = kind of plugin, option = name of an entry point; nothing is imported to list or to compose."""

    @staticmethod
    def scheme() -> str:
        """The scheme of the search path entry `fmlab://`."""
        return "fmlab"

    def available(self) -> bool:
        """Always: fmlab itself installs plugins."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Whether this is a kind of plugin that a config selects."""
        return config_path.strip("/") in ("", *SELECTED)

    def is_config(self, config_path: str) -> bool:
        """Whether this names an installed plugin, clearly or not; `load_config` complains about the unclear."""
        kind, _, name = config_path.removeprefix(f"{_VALUES}/").partition("/")
        return kind in SELECTED and bool(name) and registry.is_claimed(kind, name)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Kinds at the root, names of plugins in a group."""
        path = config_path.strip("/")
        wanted = ObjectType.CONFIG if path else ObjectType.GROUP
        if results_filter not in (None, wanted):
            return []
        return list(registry.names(path)) if path else sorted(SELECTED)

    def load_config(self, config_path: str) -> ConfigResult:
        """Options of a plugin with their defaults; raises FmlabError if it is broken or its name is not clear."""
        hidden = config_path.startswith(f"{_VALUES}/")
        kind, _, name = config_path.removeprefix(f"{_VALUES}/").partition("/")
        signature = registry.schema(kind, name)
        plugins, values = ({}, {}) if kind == LOGGER else plugins_and_values(kind, name, signature.defaults)
        if hidden:
            return self._result(values, package="_global_")
        # The package is absolute: without it Hydra looks for `model.loss`, as a group inside this group.
        overrides = [{f"override /{k}@_global_.{k}": v} for k, v in plugins.items()]
        content: dict[str, Any] = {"defaults": ["_self_", *overrides]}
        if values:
            content["defaults"].insert(0, f"/{_VALUES}/{kind}/{name}@_global_")
        content["name"] = registry.title(kind, registry.find(kind, name))
        for option in signature.options:
            content[option.name] = "???" if option.default is REQUIRED else listed(option.default)
        return self._result(content)

    def _result(self, content: Mapping[str, Any], package: str | None = None) -> ConfigResult:
        return ConfigResult(self.provider, self.full_path(), OmegaConf.create(dict(content)), {"package": package})


class SweepSource(ConfigSource):
    """The files of `sweeps/` as the config group `sweep`."""

    @staticmethod
    def scheme() -> str:
        """The scheme of the search path entry `fmlab-sweeps://`."""
        return "fmlab-sweeps"

    def __init__(self, provider: str, path: str) -> None:
        """`path`: `fmlab-sweeps://` and a folder."""
        super().__init__(provider, path)
        self.files = CheckedFiles(provider, f"file://{self.path}")

    def available(self) -> bool:
        """Whether there is such a folder."""
        return bool(self.files.available())

    def is_group(self, config_path: str) -> bool:
        """The root and `sweep`."""
        return self.available() and config_path.strip("/") in ("", "sweep")

    def is_config(self, config_path: str) -> bool:
        """Whether this is `sweep/` and a file's name."""
        return config_path.startswith("sweep/") and self.files.is_config(config_path.removeprefix("sweep/"))

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """`sweep` at the root, the files in it."""
        if not config_path.strip("/"):
            return [] if results_filter == ObjectType.CONFIG else ["sweep"]
        if results_filter == ObjectType.GROUP:
            return []
        root = Path(self.path)
        return sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.yaml"))

    def load_config(self, config_path: str) -> ConfigResult:
        """A file of the folder, as options of the sweeper `fmlab`, which it selects."""
        path = config_path.removeprefix("sweep/")
        result = self.files.load_config(path)
        assert isinstance(result.config, DictConfig)
        content = {str(k): result.config._get_node(k) for k in result.config}
        name = path.removesuffix(".yaml")
        result.config = OmegaConf.create(
            {"defaults": [{"override /hydra/sweeper": "fmlab"}], "hydra": {"sweeper": {**content, "name": name}}}
        )
        result.header["package"] = "_global_"
        return result


class SearchPath(SearchPathPlugin):
    """Where configs come from: `conf/`, sweeps, folders of other packages (`fmlab.conf`), installed plugins."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append in order of priority: a YAML file shadows a plugin of its name."""
        search_path.append("fmlab", f"fmlab-sweeps://{beside('sweeps')}")
        for entry in registry.config_folders():
            place = locate(entry.value)
            if place is not None:  # a folder, found without importing its package
                folder = place.parent if place.suffix else place
                for scheme in places(folder):
                    search_path.append(registry.package(entry), scheme)
        search_path.append("fmlab", "fmlab://plugins")


def places(folder: Path) -> list[str]:
    """A folder of configs as entries of the search path; the files in its `sweep` are sweeps, as those of `sweeps/`."""
    own = folder / "sweep"
    return [*([f"fmlab-sweeps://{own}"] if own.is_dir() else []), f"file://{folder}"]


def beside(name: str) -> Path:
    """A folder that the wheel ships inside the package, and the repository beside it."""
    package = Path(__file__).resolve().parent.parent
    return package / name if (package / name).is_dir() else package.parent / name
