"""The program that Hydra composes configs for: a run, a multirun, or what `--help`, `--cfg` and completion show."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from fmlab.cli.collecting import no_collections
from fmlab.cli.exit_codes import message
from fmlab.errors import FmlabError
from fmlab.terminal.escaping import shown

if TYPE_CHECKING:
    from hydra.core.config_search_path import ConfigSearchPath

    from fmlab.config.hydra_internals import Hydra

FAILED_JOBS = 3
_OWN_OVERRIDES = ("hydra.mode=", "hydra.job_logging.root.handlers=")  # keys that the program itself gives Hydra


def run_hydra(arguments: list[str], of_file: Sequence[str] = ()) -> int:
    """What `hydra.main` does, with the checking loader and with exceptions left to `main`.

    `of_file`: overrides that a file holds, before those that were typed.
    """
    with no_collections():
        parser = _parser()
        args = parser.parse_intermixed_args(arguments)
        runs = _runs(args)
        hydra, typed = _program(args, runs=runs)
        if not runs:
            with _current(hydra):
                return _show(hydra, parser, args)
    with _current(hydra):
        return _run(hydra, args, [*of_file, *typed])


def _runs(args: argparse.Namespace) -> bool:
    """Whether runs are started; raises FmlabError for flags that do not go together."""
    if sum(map(bool, (args.cfg, args.info, args.shell_completion, args.multirun))) > 1:
        raise FmlabError("only one of -m, --cfg, --info and --shell-completion can be given")
    if args.experimental_rerun:
        raise FmlabError("--experimental-rerun unpickles a file, which runs what is in it; it is refused")
    if args.resolve and not args.cfg:
        raise FmlabError("--resolve goes with --cfg")
    return not (args.help or args.hydra_help or args.cfg or args.info or args.shell_completion)


def _program(args: argparse.Namespace, *, runs: bool) -> tuple["Hydra", list[str]]:
    """Hydra with the checking loader, and the overrides that were typed; raises FmlabError."""
    from fmlab.config.composition import Loader, install, search_path
    from fmlab.config.hydra_internals import Hydra
    from fmlab.sweep.commandline import translate

    # What is typed is trusted; config files are trusted with less, see SECURITY.md.
    typed = translate(args.overrides, multirun=bool(args.multirun)) if runs else args.overrides
    install(os.environ, typed=typed, hide=not runs)
    path = search_path(args.config_path and os.path.abspath(args.config_path))
    if args.config_dir:
        _add_folder(path, args.config_dir)
    loader = Loader(path, vault=os.environ, complete=runs, typed=[*typed, *_OWN_OVERRIDES])
    loader.nested = bool(args.shell_completion)
    return Hydra(task_name="fmlab", config_loader=loader), typed


@contextmanager
def _current(hydra: "Hydra") -> Iterator[None]:
    """Make it the Hydra of this process; raises FmlabError in place of an error of OmegaConf."""
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf.errors import OmegaConfBaseException

    from fmlab.config.messages import explain

    GlobalHydra.instance().initialize(hydra)
    try:
        yield
    except OmegaConfBaseException as error:
        raise FmlabError(explain(error)) from error
    finally:
        GlobalHydra.instance().clear()


def _parser() -> argparse.ArgumentParser:
    from fmlab.config.hydra_internals import argument_parser

    parser = argument_parser()
    parser.prog = "fmlab"
    parser.set_defaults(config_name="config")

    def refuse(message: str) -> NoReturn:
        raise FmlabError(f"{message}; see fmlab --help")

    parser.error = refuse  # type: ignore[method-assign]
    return parser


def _add_folder(path: "ConfigSearchPath", folder: str) -> None:
    from pathlib import Path

    from hydra.core.config_search_path import SearchPathQuery

    from fmlab.config.sources import places

    if not os.path.isdir(folder):
        raise FmlabError(f"--config-dir must be a folder, got {folder!r}")
    anchor = SearchPathQuery(provider="schema")
    for place in places(Path(folder).absolute()):
        path.prepend(provider="command-line", path=place, anchor=anchor)


def _show(hydra: "Hydra", parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    if args.help:
        from hydra.types import RunMode

        from fmlab.cli.help import help_text

        print(help_text(hydra.compose_config(args.config_name, args.overrides, RunMode.RUN), hydra.config_loader))
    elif args.hydra_help:
        hydra.hydra_help(args.config_name, parser, args)
    elif args.cfg:
        hydra.show_cfg(args.config_name, args.overrides, args.cfg, args.package, args.resolve)
    elif args.info:
        hydra.show_info(args.info, args.config_name, args.overrides)
    else:
        try:
            hydra.shell_completion(args.config_name, args.overrides)
        except FmlabError:  # half a line is often no config
            return FmlabError.code
    return 0


def _run(hydra: "Hydra", args: argparse.Namespace, overrides: list[str]) -> int:
    from fmlab.cli.jobs import Jobs
    from fmlab.training.processes import is_child

    if is_child(os.environ):
        overrides = [*overrides, "hydra.job_logging.root.handlers=[file]"]
    jobs = Jobs(terminal=sys.stderr.isatty())
    if not args.multirun:
        jobs.run_one(hydra, args.config_name, [*overrides, "hydra.mode=RUN"])
        jobs.print_results()
        return 0
    hydra.multirun(args.config_name, jobs, [*overrides, "hydra.mode=MULTIRUN"])
    jobs.print_results()
    for overrides_of_job, error in jobs.failed:
        print(shown(f"failed: {' '.join(overrides_of_job)}: {message(error)}"), file=sys.stderr)
    return FAILED_JOBS if jobs.failed else 0
