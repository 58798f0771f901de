"""The command line: Hydra's conventions, subcommands, and the one place where errors become messages and exit codes.

Nothing else in fmlab reads the arguments, the environment, or the terminal; but `fmlab.training.processes` reads which
process of a run this is.

| exit code | meaning                                                    |
|-----------|------------------------------------------------------------|
| 0         | done                                                       |
| 1         | a defect, of fmlab or of a plugin; traceback in run.log    |
| 2         | a mistake in what was given                                |
| 3         | some jobs of a multirun failed                             |
| 65, 74    | the data break a rule; a file cannot be read or written    |
| 130, 143  | interrupted by Ctrl-C, by SIGTERM                          |
"""

import argparse
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from fmlab import __version__
from fmlab.cli.exit_codes import ended, failed, message
from fmlab.errors import FmlabError
from fmlab.terminal import elapsed
from fmlab.terminal.escaping import safe_log, shown

if TYPE_CHECKING:
    from hydra.core.config_search_path import ConfigSearchPath

    from fmlab.config.hydra_internals import Hydra

# Imported when asked for, so that help, completion and listings stay free of torch.
COMMANDS = {
    "plugins": "fmlab.cli.plugins",
    "schema": "fmlab.cli.schema",
    "data": "fmlab.cli.data",
    "report": "fmlab.cli.report",
    "sweep": "fmlab.cli.sweep",
    "experiment": "fmlab.cli.experiments",
    "evaluate": "fmlab.cli.evaluate",
    "predict": "fmlab.serving.predict",
    "recommend": "fmlab.serving.recommend",
    "export": "fmlab.serving.export",
    "serve": "fmlab.serving.server",
    "similar": "fmlab.cli.similar",
    "doctor": "fmlab.cli.doctor",
    "resume": "",  # composed and run like any command line
    "plot": "fmlab.serving.plot",
}
_SECOND = (
    "plugins show",
    "data show",
    "data list",
    "data split",
    "data audit",
    "sweep list",
    "sweep recover",
    "experiment list",
)
FAILED_JOBS = 3
_OWN_OVERRIDES = ("hydra.mode=", "hydra.job_logging.root.handlers=")  # keys that the program itself gives Hydra


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    elapsed.begin()
    given = sys.argv[1:] if arguments is None else list(arguments)
    with _stopping_on_signals() as stop, _logging_left_as_it_was(), safe_log():
        try:
            code = _dispatch(given)
            sys.stdout.flush()
        except BrokenPipeError:  # `fmlab plugins | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 0
        except (KeyboardInterrupt, SystemExit) as error:
            code = ended(error, stop.code)
        except Exception as error:
            code = failed(error)
    return stop.code or code


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        return _hydra(["--help"])
    first = arguments[0]
    if first == "resume":
        return _resume(arguments[1:])
    if first in COMMANDS:
        return _command(first, arguments[1:])
    if not all(a.strip() for a in arguments):
        raise FmlabError("an argument must be a command or look like key=value, got ''")
    if "=" not in first and first[:1] not in ("-", "~", "+"):
        raise FmlabError(f"an argument must be a command or look like key=value, got {first!r}; {_near(first)}")
    if "--version" in arguments:
        print(f"fmlab {__version__}")
        return 0
    return _hydra(arguments)


def _resume(arguments: list[str]) -> int:
    from fmlab.cli import resume

    if arguments[:1] in (["--help"], ["-h"]):
        print(resume.USAGE)
        return 0
    of_folder, typed = resume.overrides(arguments)
    return _hydra(typed, of_folder)


def _near(word: str) -> str:
    """The commands, options and plugins that a word alone may mean."""
    from fmlab.config.composition import compose
    from fmlab.config.suggestions import meant, nearest, paths_of
    from fmlab.plugin import registry

    listed = f"commands: {', '.join(sorted(COMMANDS))}"
    whole = [*COMMANDS, *_SECOND]
    plugins = [f"{kind}={name}" for kind in registry.KINDS for name in registry.names(kind) if kind != "metric"]
    for known, end, cutoff in ((plugins, "=", 1.0), (whole, " ", 0.6), (plugins, "=", 0.8)):
        if near := get_close_matches(word, {k.rpartition(end)[2] for k in known}, n=1, cutoff=cutoff):
            return meant(k for k in known if k.rpartition(end)[2] == near[0]) + listed
    found = [f"{p}=" for p in nearest(word, paths_of({str(k): v for k, v in compose().items()}))]
    return meant(found) + listed


def _command(name: str, arguments: list[str]) -> int:
    return int(importlib.import_module(COMMANDS[name]).main(arguments, os.environ))


# --------------------------------------------------------------------------------------------- Hydra


def _hydra(arguments: list[str], of_file: Sequence[str] = ()) -> int:
    """What `hydra.main` does, with the checking loader and with exceptions left to `main`.

    `of_file`: overrides that a file holds, before those that were typed.
    """
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf.errors import OmegaConfBaseException

    from fmlab.config.composition import Loader, install, search_path
    from fmlab.config.hydra_internals import Hydra
    from fmlab.config.messages import explain

    parser = _parser()
    args = parser.parse_intermixed_args(arguments)
    runs = not (args.help or args.hydra_help or args.cfg or args.info or args.shell_completion)
    if sum(map(bool, (args.cfg, args.info, args.shell_completion, args.multirun))) > 1:
        raise FmlabError("only one of -m, --cfg, --info and --shell-completion can be given")
    if args.experimental_rerun:
        raise FmlabError("--experimental-rerun unpickles a file, which runs what is in it; it is refused")
    if args.resolve and not (args.cfg or args.help):
        raise FmlabError("--resolve goes with --cfg or --help")
    from fmlab.sweep.commandline import translate

    # What is typed is the user's word; config files are trusted with less, see SECURITY.md.
    typed = translate(args.overrides, multirun=bool(args.multirun)) if runs else args.overrides
    install(os.environ, typed=typed, hide=not runs)
    path = search_path(args.config_path and os.path.abspath(args.config_path))
    if args.config_dir:
        _add_folder(path, args.config_dir)
    loader = Loader(path, vault=os.environ, complete=runs, typed=[*typed, *_OWN_OVERRIDES])
    loader.nested = bool(args.shell_completion)
    hydra = Hydra(task_name="fmlab", config_loader=loader)
    GlobalHydra.instance().initialize(hydra)
    try:
        return _run(hydra, args, [*of_file, *typed]) if runs else _show(hydra, parser, args)
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

    from fmlab.config.composition import places

    if not os.path.isdir(folder):
        raise FmlabError(f"--config-dir must be a folder, got {folder!r}")
    anchor = SearchPathQuery(provider="schema")
    for place in places(Path(folder).absolute()):
        path.prepend(provider="command-line", path=place, anchor=anchor)


def _show(hydra: "Hydra", parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    if args.help:
        hydra.app_help(args.config_name, parser, args)
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
        jobs.print_figures()
        return 0
    hydra.multirun(args.config_name, jobs, [*overrides, "hydra.mode=MULTIRUN"])
    jobs.print_figures()
    for overrides_of_job, error in jobs.failed:
        print(shown(f"failed: {' '.join(overrides_of_job)}: {message(error)}"), file=sys.stderr)
    return FAILED_JOBS if jobs.failed else 0


@contextmanager
def _logging_left_as_it_was() -> Iterator[None]:
    """Hydra and the commands set the root logger up, on the streams of now; a program that calls `main` has its own."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                with suppress(OSError):  # the last lines found no room
                    handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)


class _Stop:
    """Ends the program on a signal; while Lightning trains, its own handler stops at the next batch instead."""

    code = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.code = code = 128 + number
        if signal.getsignal(number) is self:
            raise SystemExit(code)


@contextmanager
def _stopping_on_signals() -> Iterator[_Stop]:
    stop, before = _Stop(), {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, stop)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
