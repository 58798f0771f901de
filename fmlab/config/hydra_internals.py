"""All that fmlab takes from `hydra._internal`, which any release of Hydra may change; no other module imports it.

The Compose API builds its own loader and has no place for the checks of `fmlab.config.gate`, so that loader is extended
here, and what extends it overrides public methods alone. `tests/registry/test_hydra_internals.py` holds every name and
every parameter that is used here, and says what breaks without it.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import yaml
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobStatus, run_job
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_yaml_loader
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

__all__ = [
    "ConfigFiles",
    "ExtensibleLoader",
    "Hydra",
    "argument_parser",
    "is_part_of_hydra",
    "is_plain_multirun_part",
    "read_files_with",
    "run_task",
    "search_path_from",
    "search_path_of",
]

_HEADER = 512  # characters of a file in which Hydra looks for `# @package`
_PARTS = "hydra._internal.core_plugins."  # import paths of the parts that Hydra itself ships


class ConfigFiles(FileConfigSource):
    """Hydra's config files in a folder."""

    def check_file(self, path: Path) -> None:
        """Called with each file before it is read."""

    def load_config(self, config_path: str) -> ConfigResult:
        """As Hydra's, of a file that was checked; it is parsed by libyaml, which takes a fifth of the time."""
        place = Path(self.path) / self._normalize_file_name(config_path)
        self.check_file(place)
        if not place.is_file():
            raise ConfigLoadError(f"Config not found : {place}")
        with place.open(encoding="utf-8") as file:
            header = self._get_header_dict(file.read(_HEADER))
            file.seek(0)
            content = yaml.load(file, _yaml_loader())
        return ConfigResult(self.provider, self.full_path(), OmegaConf.create(content or {}), header)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """As Hydra's, with one look at each entry of the folder."""
        with os.scandir(Path(self.path) / config_path) as entries:
            known = [e for e in entries if e.name not in ("__pycache__", "__init__.py")]
        groups = {e.name for e in known if e.is_dir()}
        configs = {e.name.removesuffix(".yaml") for e in known if e.name.endswith(".yaml") and e.is_file()}
        found = {ObjectType.GROUP: groups, ObjectType.CONFIG: configs, None: groups | configs}
        return sorted(found.get(results_filter, ()))


@cache
def _yaml_loader() -> Any:
    """OmegaConf's rules for numbers, times and repeated keys on libyaml's parser, where it is there."""
    rules = get_yaml_loader()
    if not yaml.__with_libyaml__:
        return rules

    class Loader(yaml.cyaml.CParser, rules):  # type: ignore[misc, valid-type]
        def __init__(self, file: TextIO) -> None:
            yaml.cyaml.CParser.__init__(self, file)
            SafeConstructor.__init__(self)
            Resolver.__init__(self)

    return Loader


class ExtensibleLoader(ConfigLoaderImpl):
    """Hydra's loader with public methods at the places where foreign text comes in."""

    def check_overrides(self, overrides: Sequence[Override]) -> None:
        """Called before any config is loaded."""

    def check_primary(self, name: str, config: DictConfig) -> None:
        """Called with the primary config, before the search path in it is read."""

    def check_config(self, default: ResultDefault, result: ConfigResult) -> None:
        """Called with each config that was loaded, and its place in the defaults list."""

    def extend_config(self, config: DictConfig) -> None:
        """Called with the config of the whole defaults list, before overrides are applied to it."""

    def _process_config_searchpath(
        self, config_name: str | None, parsed_overrides: list[Override], repo: CachingConfigRepository
    ) -> None:
        self.check_overrides(parsed_overrides)
        primary = None if config_name is None else repo.load_config(config_path=config_name)
        if config_name is not None and primary is not None and isinstance(primary.config, DictConfig):
            self.check_primary(config_name, primary.config)
        super()._process_config_searchpath(config_name, parsed_overrides, repo)

    def _load_single_config(self, default: ResultDefault, repo: IConfigRepository) -> ConfigResult:
        result = super()._load_single_config(default, repo)
        self.check_config(default, result)
        return result

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        config = super()._compose_config_from_defaults_list(defaults, repo)
        self.extend_config(config)
        return config


def read_files_with(source: type[ConfigSource]) -> None:
    """Make `source` read `file://` entries of search paths; to register a plugin does not replace Hydra's own."""
    SourcesRegistry.instance().types["file"] = source


def search_path_of(folder: str) -> ConfigSearchPath:
    """The search path with `folder` as the place of the primary config, and what installed plugins add to it."""
    return create_config_search_path(folder)


def search_path_from(entries: Iterable[Sequence[str]]) -> ConfigSearchPath:
    """The search path of these entries alone, each a provider and a place."""
    path = ConfigSearchPathImpl()
    for provider, place in entries:
        path.append(provider, place)
    return path


def argument_parser() -> argparse.ArgumentParser:
    """The parser of Hydra's command line."""
    return get_args_parser()


def run_task(hydra: Hydra, task: Callable[[DictConfig], Any], config: DictConfig) -> Any:
    """What `task` returns for a composed config, run in the folder `hydra.run.dir`; raises what it raises."""
    context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())
    done = run_job(task, config, "hydra.run.dir", None, context)
    if done.status is JobStatus.FAILED:
        raise done._return_value  # `return_value` raises it too, after a line on standard error
    return done.return_value


def is_part_of_hydra(target: str) -> bool:
    """Whether an import path is that of a launcher or sweeper, or another part, that Hydra ships."""
    return target.startswith(_PARTS)


def is_plain_multirun_part(target: str) -> bool:
    """Whether an import path is that of Hydra's basic launcher or basic sweeper."""
    return target.startswith(f"{_PARTS}basic_")
