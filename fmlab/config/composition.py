"""Installed plugins as Hydra config groups, and the one place every composed config is checked.

`model=lorentzfm` selects an entry point: its options become the config group, its `defaults` become overrides of the
defaults list (`loss: bce` -> `override /loss: bce`) or top-level values. What the user writes wins over an experiment
file, that over a plugin's `defaults`, and those over `conf/config.yaml`. Among plugins the model wins over the data
set, and that over the protocol, but for what a protocol's `binding` names.
"""

import re
from collections.abc import Mapping, MutableMapping, Sequence

import yaml
from hydra import version
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from fmlab.config.gate import CheckedFiles, GuardedLoader, refuse_long
from fmlab.config.hydra_internals import read_files_with, search_path_of
from fmlab.config.messages import explain
from fmlab.config.plugin_defaults import (
    GROUPS,
    binding_overrides,
    check_untrained_model,
    unlabeled_overrides,
)
from fmlab.config.renames import add_old_names, take_new_names
from fmlab.config.secrets import veil_config, veil_override
from fmlab.config.sources import LOGGER, PluginSource, SearchPath, SweepSource, beside
from fmlab.config.suggestions import names_below
from fmlab.config.validation import refuse_import_paths, verify
from fmlab.config.variables import install_resolvers
from fmlab.errors import FmlabError

PRESETS = "experiment"  # the group whose files are whole runs, in folders


def _several(override: str) -> list[str]:
    """`logger=[wandb,tensorboard]` as the logger that stands for several."""
    found = re.fullmatch(r"\+*logger=(\[[\w\s,:.+-]*\])", override)
    return [f"{LOGGER}=several", f"{LOGGER}.names={found[1]}"] if found else [override]


class Loader(GuardedLoader):
    """Hydra's loader, with one-line errors and every value checked against its signature.

    `complete`: also require what must be given; otherwise `???` may stand, as in `--cfg job`.
    """

    nested = False  # whether presets are listed by their whole names, as completion wants them

    def __init__(
        self,
        path: ConfigSearchPath,
        *,
        complete: bool,
        vault: MutableMapping[str, str] | None = None,
        typed: Sequence[str] | None = None,
    ) -> None:
        """`path` as `search_path()` gives it; secrets move into `vault`, if there is one, see `fmlab.config.secrets`.

        `typed`: the overrides that the user typed; None: all that a config is composed of are.
        """
        super().__init__(path, beside("conf"), vault or {}, typed)
        self.vault, self.complete = vault, complete

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Compose and check; raises FmlabError."""
        for override in overrides:
            refuse_long(override)
            renamed = re.match(rf"\+*({'|'.join(GROUPS)}|logger)\.name=", override)
            if renamed:
                raise FmlabError(f"{renamed[1]}.name is not set by itself: write {renamed[1]}=<name>, got {override!r}")
        check_untrained_model(overrides)
        overrides = [*unlabeled_overrides(overrides), *overrides]
        # Roles are names of the model's, which no config has before.
        overrides = [re.sub(r"^optimizer\.roles([.=])", r"++optimizer.roles\1", o) for o in overrides]
        overrides = [made for override in overrides for made in _several(override)]
        if self.vault is not None:
            overrides = [veil_override(o, self.vault) for o in overrides]
        try:
            config = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
            if config_name is not None and (more := binding_overrides(config, overrides)):
                given = [*overrides, *more]
                config = super().load_configuration(config_name, given, run_mode, from_shell, validate_sweep_overrides)
        except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, RecursionError) as error:
            if isinstance(error, MissingConfigException) and (error.missing_cfg_file or "").startswith(f"{PRESETS}/"):
                error.presets = names_below(self.repository, PRESETS)  # type: ignore[attr-defined]
            raise FmlabError(explain(error)) from error
        if config_name is not None:
            refuse_import_paths(config.hydra)
            self.check_folders(config, overrides)
            moved = take_new_names(config, self.keys_of(overrides))
            resolved = verify(config, complete=self.complete and run_mode == RunMode.RUN)
            self.check_paths(resolved, overrides, moved)
            if self.vault is not None:
                self._veil(config, self.vault)
        return config

    def extend_config(self, config: DictConfig) -> None:
        """Add the old names of options, so that overrides may use them."""
        add_old_names(config)

    @staticmethod
    def _veil(config: DictConfig, vault: MutableMapping[str, str]) -> None:
        parts = {str(k): config[k] for k in config if k != "hydra" and OmegaConf.is_config(config[k])}
        for name, part in (parts | {"hydra.sweeper": config.hydra.sweeper}).items():
            if part is not None:
                veil_config(part, vault, name)

    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        """As Hydra's, without a deep copy of all sources at each of the hundred calls that help makes."""
        if any("hydra.searchpath" in o for o in overrides or ()):
            return list(super().get_group_options(group_name, results_filter, config_name, overrides))
        if self.nested and group_name == PRESETS:
            return [] if results_filter == ObjectType.GROUP else names_below(self.repository, PRESETS)
        return self.repository.get_group_options(group_name, results_filter)


def install(environment: MutableMapping[str, str], *, typed: Sequence[str] = (), hide: bool = False) -> None:
    """Make plugins selectable in this process; `${env:NAME,default}` and `${secret:NAME}` read `environment`.

    `typed`: the command line, whose variables may be read. With `hide`, secrets read `***`: for configs that are shown.
    """
    for plugin in (PluginSource, SweepSource, SearchPath):
        Plugins.instance().register(plugin)
    read_files_with(CheckedFiles)
    version.setbase("1.3")
    setup_globals()

    def options(*, _root_: DictConfig) -> str:
        from fmlab.config.help import help_on

        nodes = [(str(key), node) for key, node in _root_.items_ex(resolve=False) if key != "hydra"]
        values = {key: OmegaConf.to_container(n) if OmegaConf.is_config(n) else n for key, n in nodes}
        return help_on(values).replace("$", "$$")  # the help is a template

    OmegaConf.register_new_resolver("plugin_options", options, replace=True)
    install_resolvers(environment, typed, hide=hide)


def search_path(folder: str | None = None) -> ConfigSearchPath:
    """The search path of the program, with another primary folder if one is given."""
    return search_path_of(folder or str(beside("conf")))


def compose(overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> DictConfig:
    """The config that `fmlab <overrides>` would run; raises FmlabError for the first mistake in it."""
    vault = dict(environment or {})
    install(vault, typed=overrides)
    loader = Loader(search_path(), vault=vault, complete=True)
    config = loader.load_configuration("config", list(overrides), RunMode.RUN)
    with open_dict(config):
        del config["hydra"]
    return config
