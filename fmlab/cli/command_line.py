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

from fmlab import __version__
from fmlab.cli.collecting import no_collections
from fmlab.cli.exit_codes import ended, failed
from fmlab.cli.hydra_program import run_hydra
from fmlab.errors import FmlabError
from fmlab.terminal import elapsed
from fmlab.terminal.escaping import safe_log

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
    "export": "fmlab.cli.export",
    "quantize": "fmlab.cli.quantize",
    "serve": "fmlab.serving.server",
    "similar": "fmlab.cli.similar",
    "doctor": "fmlab.cli.doctor",
    "resume": "",  # composed and run like any command line
    "plot": "fmlab.serving.plot",
    "push": "fmlab.cli.push",
    "pull": "fmlab.cli.pull",
}
_SECOND = (
    "plugins show",
    "data show",
    "data list",
    "data split",
    "data audit",
    "sweep list",
    "sweep recover",
    "sweep refit",
    "experiment list",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    elapsed.begin()
    _open_standard_streams()
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


def _open_standard_streams() -> None:
    """Whoever starts the program may have closed them: what is written there is for nobody, and for no other file."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        return run_hydra(["--help"])
    first = arguments[0]
    if first == "resume":
        return _resume(arguments[1:])
    if arguments[:2] == ["sweep", "refit"]:
        return _refit(arguments[2:])
    if first in COMMANDS:
        return _command(first, arguments[1:])
    if not all(a.strip() for a in arguments):
        raise FmlabError("an argument must be a command or look like key=value, got ''")
    if "=" not in first and first[:1] not in ("-", "~", "+"):
        raise FmlabError(f"an argument must be a command or look like key=value, got {first!r}; {_near(first)}")
    if "--version" in arguments:
        print(f"fmlab {__version__}")
        return 0
    return run_hydra(arguments)


def _resume(arguments: list[str]) -> int:
    from fmlab.cli import resume

    if arguments[:1] in (["--help"], ["-h"]):
        print(resume.USAGE)
        return 0
    of_folder, typed = resume.overrides(arguments)
    return run_hydra(typed, of_folder)


def _refit(arguments: list[str]) -> int:
    from fmlab.cli import refit

    if arguments[:1] in (["--help"], ["-h"]):
        print(refit.USAGE)
        return 0
    of_trial, typed = refit.overrides(arguments)
    return run_hydra(typed, of_trial)


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
    with no_collections():
        command = importlib.import_module(COMMANDS[name])
    return int(command.main(arguments, os.environ))


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
                with suppress(OSError):  # the disk is full: the last lines are lost
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
