"""What a person sees while a run goes on: a bar on a terminal, one line an epoch otherwise."""

import logging
import time
from importlib.util import find_spec
from typing import Any

import pytorch_lightning as pl
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from fmlab.terminal.console import Console
from fmlab.training.learner import Learner

log = logging.getLogger("fmlab")
_SECONDS_BETWEEN_REFRESHES = 0.2  # a step of these models takes milliseconds; drawing must not cost more


def _draws_bars() -> bool:
    """Whether a bar can move here. In a notebook rich needs ipywidgets, and without them leaves empty lines."""
    return not Console(stderr=True).is_jupyter or find_spec("ipywidgets") is not None


def format_number(value: float) -> str:
    """A metric as a person reads it: four decimals, or as many as a small one needs to be told from 0."""
    return f"{value:.4f}" if value == 0 or abs(value) >= 1e-3 else f"{value:.3g}"


class EpochLogger(pl.Callback):
    """Logs one line an epoch and, where a person watches, draws a bar over its batches, or prints that line."""

    def __init__(self, *, bar: bool) -> None:
        self.bar = bar and _draws_bars()
        self.prints = bar and not self.bar
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._drawn = self._began = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """An epoch that goes on where it was interrupted has no start of its own."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the epoch's bar and clock."""
        self._began = time.perf_counter()
        if self.bar and trainer.is_global_zero:
            self._begin(f"epoch {trainer.current_epoch}", int(trainer.num_training_batches))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the bar."""
        self._move(batch_idx + 1)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the test's bar."""
        if self.bar and trainer.is_global_zero:
            self._begin("test", int(sum(trainer.num_test_batches)))

    def on_test_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        """Move the bar."""
        self._move(batch_idx + 1)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the bar."""
        self._end()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the line of the epoch."""
        if trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        self._end()
        assert isinstance(pl_module, Learner)
        shown = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        figures = "  ".join(f"{k} {format_number(v)}" for k, v in shown.items())
        seconds = time.perf_counter() - self._began
        pace = f"{seconds:.1f} s  {pl_module.pace.rows_per_second:,.0f} rows/s"
        line = f"epoch {trainer.current_epoch}  {figures}  {pace}"
        log.info(line)
        if self.prints:
            print(line, flush=True)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._end()

    def _begin(self, name: str, total: int) -> None:
        self._end()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,
        )
        self._progress.start()
        self._task = self._progress.add_task(name, total=total)

    def _move(self, done: int) -> None:
        now = time.perf_counter()
        if self._progress is not None and self._task is not None and now - self._drawn > _SECONDS_BETWEEN_REFRESHES:
            self._drawn = now
            self._progress.update(self._task, completed=done, refresh=True)

    def _end(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress = self._task = None
