"""The jobs of one start of the program: each composed config is run, and what fails is kept and reported."""

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fmlab.config.hydra_internals import Hydra, is_plain_multirun_part, run_task
from fmlab.errors import FmlabError
from fmlab.records.folder import RunFolder, refuse_link
from fmlab.terminal.escaping import escaped_line
from fmlab.training.lightning_messages import quiet
from fmlab.training.processes import this_launch

log = logging.getLogger("fmlab")


class Jobs:
    """A task function for Hydra. In a plain multirun a failed job is kept in `failed` and the next one starts."""

    def __init__(self, *, terminal: bool) -> None:
        """`terminal`: whether a person watches, for `trainer.progress=auto`."""
        self.terminal = terminal
        self.failed: list[tuple[list[str], Exception]] = []
        self.folder: Path | None = None  # of the run, or of all runs of a plain multirun
        self.first = True  # whether this process tells, of those that share a run

    def __call__(self, config: DictConfig) -> float:
        """Run one job; gives its validation metric."""
        hydra = HydraConfig.get()
        if config.trainer.progress == "auto":
            config.trainer.progress = self.terminal
        plain = hydra.mode == RunMode.MULTIRUN and all(
            is_plain_multirun_part(str(part["_target_"])) for part in (hydra.sweeper, hydra.launcher)
        )
        folder = Path(hydra.runtime.output_dir)
        self.folder = Path(hydra.sweep.dir) if plain else folder
        _bear_full_disks()
        try:
            self._settle_processes(config)
            from fmlab.run.experiment import run

            quiet()
            return run(config, folder)
        except (Exception, SystemExit) as error:
            if isinstance(error, SystemExit):
                if error.code not in (0, None):
                    raise
                error = _ended_early(error)
            _keep(error)
            if not plain:
                raise error
            self.failed.append((list(hydra.overrides.task), error))
            return float("nan")

    def _settle_processes(self, config: DictConfig) -> None:
        """Of several processes the first one tells what all of them do."""
        self.first = this_launch(config.trainer).rank == 0
        if not self.first:
            root = logging.getLogger()
            root.handlers[:] = [h for h in root.handlers if isinstance(h, logging.FileHandler)]

    def run_one(self, hydra: Hydra, config_name: str, overrides: list[str]) -> float:
        """Compose and run a single job; raises what it raised."""
        config = hydra.compose_config(config_name, overrides, RunMode.RUN, with_log_configuration=True)
        log_file = Path(str(config.hydra.run.dir), f"{config.hydra.job.name}.log")
        refuse_link(log_file)  # Hydra opens it
        made = [place for place in log_file.parents if not place.exists()]
        try:
            return float(run_task(hydra, self, config))
        except FmlabError:
            _leave_no_trace(log_file, made)
            raise

    def print_results(self) -> None:
        """Leaderboards of what was run here; another sweeper prints its own."""
        if self.folder is not None and self.first:
            from fmlab.report.terminal import print_leaderboards
            from fmlab.terminal.console import Console

            print_leaderboards(self.folder)
            Console().print(escaped_line(str(self.folder)), markup=False, highlight=False, soft_wrap=True)


def _ended_early(error: SystemExit) -> RuntimeError:
    """What a plugin or a library does that ends the program as if the run were finished: a defect."""
    made = RuntimeError("sys.exit was called before the run was finished")
    made.__cause__ = error
    return made.with_traceback(error.__traceback__)


def _leave_no_trace(log_file: Path, made: Sequence[Path]) -> None:
    """Remove the folders that a run has made, deepest first, if it was refused before it left more than its log."""
    with suppress(OSError):  # a folder that holds something stays, and those above it
        if made and {entry.name for entry in made[0].iterdir()} <= {log_file.name, RunFolder(made[0]).lock.name}:
            for entry in made[0].iterdir():
                entry.unlink()
            for folder in made:
                folder.rmdir()


def _bear_full_disks() -> None:
    """A line for which the disk is too full is left out of run.log, with one message; what the run must keep fails."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = partial(_say_once, handler, handler.handleError)  # type: ignore[method-assign]


def _say_once(
    handler: logging.FileHandler, otherwise: Callable[[logging.LogRecord], None], record: logging.LogRecord
) -> None:
    error = sys.exc_info()[1]
    if not isinstance(error, OSError):
        otherwise(record)
        return
    print(f"{handler.baseFilename} cannot be written: {error.strerror}; its lines are left out", file=sys.stderr)
    handler.handleError = lambda record: None  # type: ignore[method-assign]


def _keep(error: Exception) -> None:
    """Write an error to the log file of the job: a message for a mistake, the traceback for a defect."""
    trace = None if isinstance(error, FmlabError) else (type(error), error, error.__traceback__)
    record = log.makeRecord(log.name, logging.ERROR, __file__, 0, str(error), (), trace)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
            if trace is not None:
                error.add_note(f"traceback in {handler.baseFilename}")
