"""What fmlab takes from the inside of Hydra: a failure names what a release changed, and what depends on it."""

import inspect
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from fmlab.config import composition, hydra_internals
from fmlab.config.composition import Loader, SearchPath, search_path
from fmlab.config.gate import CheckedFiles

ROOT = Path(hydra_internals.__file__).resolve().parents[2]
LOADER, FILES, PROGRAM = hydra_internals.ConfigLoaderImpl, hydra_internals.FileConfigSource, hydra_internals.Hydra
USED = [
    (LOADER.__init__, ["self", "config_search_path"], "every command"),
    (
        LOADER.load_configuration,
        ["self", "config_name", "overrides", "run_mode", "from_shell", "validate_sweep_overrides"],
        "the check of composed configs",
    ),
    (
        LOADER._process_config_searchpath,
        ["self", "config_name", "parsed_overrides", "repo"],
        "the check of overrides, before a folder that they name is read",
    ),
    (LOADER._load_single_config, ["self", "default", "repo"], "the check of keys of hydra in config files"),
    (LOADER._compose_config_from_defaults_list, ["self", "defaults", "repo"], "old names of options"),
    (
        LOADER.get_group_options,
        ["self", "group_name", "results_filter", "config_name", "overrides"],
        "help and completion",
    ),
    (FILES.__init__, ["self", "provider", "path"], "config files and sweeps"),
    (FILES.load_config, ["self", "config_path"], "the bound on the size of config files"),
    (FILES._normalize_file_name, ["filename"], "the bound on the size of config files"),
    (FILES.list, ["self", "config_path", "results_filter"], "help and completion"),
    (FILES._get_header_dict, ["config_text"], "the package of config files"),
    (hydra_internals.get_yaml_loader, [], "the rules of OmegaConf for YAML"),
    (PROGRAM.__init__, ["self", "task_name", "config_loader"], "every command"),
    (
        PROGRAM.compose_config,
        [
            "self",
            "config_name",
            "overrides",
            "run_mode",
            "with_log_configuration",
            "from_shell",
            "validate_sweep_overrides",
        ],
        "runs",
    ),
    (PROGRAM.multirun, ["self", "config_name", "task_function", "overrides", "with_log_configuration"], "-m"),
    (PROGRAM.hydra_help, ["self", "config_name", "args_parser", "args"], "--hydra-help"),
    (PROGRAM.show_cfg, ["self", "config_name", "overrides", "cfg_type", "package", "resolve"], "--cfg"),
    (PROGRAM.show_info, ["self", "info", "config_name", "overrides", "run_mode"], "--info"),
    (PROGRAM.shell_completion, ["self", "config_name", "overrides"], "completion"),
    (hydra_internals.Callbacks.__init__, ["self", "config"], "runs"),
    (hydra_internals.create_config_search_path, ["search_path_dir"], "every command"),
    (hydra_internals.get_args_parser, [], "the flags of the command line"),
    (hydra_internals.run_job, ["task_function", "config", "job_dir_key", "job_subdir_key", "hydra_context"], "runs"),
]
FLAGS = {
    "cfg",
    "config_dir",
    "config_name",
    "config_path",
    "experimental_rerun",
    "help",
    "hydra_help",
    "info",
    "multirun",
    "overrides",
    "package",
    "resolve",
    "shell_completion",
}
# Texts of Hydra that `fmlab.config.messages` retells, and overrides that make Hydra say them.
TEXTS = [
    ("^In 'config': Could not find 'model/zzz9'", ["model=zzz9"], "the config file in which a choice does not exist"),
    ("Ambiguous value for argument 'seed=1,2'", ["seed=1,2"], "that several values need -m"),
    ("Config group override must be a string or a list. Got int", ["model=3"], "that a group is chosen by name"),
]


@pytest.mark.parametrize(("function", "parameters", "what"), USED, ids=lambda v: getattr(v, "__qualname__", ""))
def test_what_is_used_has_the_parameters_it_had(function: Any, parameters: list[str], what: str) -> None:
    found = list(inspect.signature(function).parameters)
    assert found[: len(parameters)] == parameters, (
        f"Hydra {version('hydra-core')} changed {function.__qualname__}, on which {what} depends in fmlab: "
        "change fmlab/config/hydra_internals.py"
    )


def test_the_parser_has_the_flags_that_the_command_line_reads() -> None:
    found = {action.dest for action in hydra_internals.argument_parser()._actions}
    assert found >= FLAGS, (
        f"Hydra {version('hydra-core')} has no flag {FLAGS - found}: change fmlab/cli/command_line.py"
    )


def test_no_other_module_knows_the_inside_of_hydra() -> None:
    files = [p for folder in ("fmlab", "plugins") for p in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    knowing = [p.relative_to(ROOT).as_posix() for p in files if re.search(r"hydra[./]_internal", p.read_text("utf-8"))]
    assert knowing == ["fmlab/config/hydra_internals.py"]


def test_checked_files_stand_in_for_files_of_hydra() -> None:
    composition.install({})
    loader = Loader(search_path(), complete=False)
    kinds = {type(s) for s in loader.get_sources() if s.scheme() == "file"}
    assert kinds == {CheckedFiles}, f"Hydra {version('hydra-core')} reads config files without the bound on their size"


def test_config_files_are_read_and_listed_as_hydra_does(tmp_path: Path) -> None:
    (tmp_path / "folder" / "__pycache__").mkdir(parents=True)
    (tmp_path / "folder" / "inner.yaml").write_text("")
    (tmp_path / "text.txt").write_text("seed: 1")
    text = "a: 1e-3\nb: 1.\nc: 2020-01-01\nd: [yes, ~, 0x10, 1_000, &x 'y', *x]\ne: ${a}\n"
    (tmp_path / "whole.yaml").write_text(f"# @package _global_\n{text}")
    ours, hydras = CheckedFiles("here", f"file://{tmp_path}"), FILES("here", f"file://{tmp_path}")
    for name in ("whole", "folder/inner"):
        got, wanted = ours.load_config(name), hydras.load_config(name)
        assert (got, type(got.config)) == (wanted, type(wanted.config))
    for place in ("", "folder"):
        for wanted_kind in (None, *ObjectType):
            assert ours.list(place, wanted_kind) == hydras.list(place, wanted_kind)


def test_each_place_where_foreign_text_comes_in_is_checked() -> None:
    called: list[str] = []

    class Noting(hydra_internals.ExtensibleLoader):
        def check_overrides(self, overrides: Any) -> None:
            called.append(f"overrides {[o.input_line for o in overrides]}")

        def check_primary(self, name: str, config: DictConfig) -> None:
            called.append(f"primary {name}")

        def check_config(self, default: Any, result: Any) -> None:
            called.append(f"config {default.config_path}")

        def extend_config(self, config: DictConfig) -> None:
            called.append(f"whole {config.seed}")

    composition.install({})
    Noting(search_path()).load_configuration("config", ["seed=7", "model=fm"], RunMode.RUN)
    assert called[:2] == ["overrides ['seed=7', 'model=fm']", "primary config"]
    assert {"config model/fm", "config config"} <= set(called)
    assert called[-1] == "whole 0"  # before the overrides


def test_a_search_path_of_entries_holds_these_alone() -> None:
    entries = [("main", "file:///a"), ("fmlab", "fmlab://plugins")]
    assert [(e.provider, e.path) for e in hydra_internals.search_path_from(entries).get_path()] == entries


def test_search_paths_take_plugins_in_the_order_of_their_priority() -> None:
    path = hydra_internals.search_path_from([])
    SearchPath().manipulate_search_path(path)
    assert path.get_path()[-1].path == "fmlab://plugins"


@pytest.mark.parametrize(("text", "overrides", "what"), TEXTS, ids=lambda v: "")
def test_hydra_says_what_messages_are_made_of(text: str, overrides: list[str], what: str) -> None:
    composition.install({})
    with pytest.raises((HydraException, ValueError)) as error:
        hydra_internals.ExtensibleLoader(search_path()).load_configuration("config", overrides, RunMode.RUN)
    assert re.search(text, str(error.value)), (
        f"Hydra {version('hydra-core')} words it otherwise, so fmlab cannot say {what}: change fmlab/config/messages.py"
    )


def test_parts_of_hydra_are_told_from_others() -> None:
    config = Loader(search_path(), complete=False).load_configuration("config", ["hydra.mode=RUN"], RunMode.RUN)
    for part in (config.hydra.sweeper, config.hydra.launcher):
        assert hydra_internals.is_plain_multirun_part(str(OmegaConf.to_container(part)["_target_"]))  # type: ignore
    assert not hydra_internals.is_plain_multirun_part("hydra_plugins.fmlab_optuna.sweeper.OptunaSweeper")
    assert not hydra_internals.is_part_of_hydra("os.system")
