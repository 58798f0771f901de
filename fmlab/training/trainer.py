"""Lightning's trainer from the config's: what it is given, and what is refused before anything is read."""

import logging
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.precision import DoublePrecision
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector

from fmlab.config.durations import seconds
from fmlab.contracts import Task
from fmlab.errors import FmlabError
from fmlab.training.checkpoints import BestCheckpoint, SafeCheckpointIO
from fmlab.training.distributed import RowSparseDDP, cluster
from fmlab.training.processes import Launch
from fmlab.training.progress import EpochLogger

log = logging.getLogger("fmlab")


def refuse_unfit(options: Mapping[str, Any]) -> None:
    """Raise FmlabError for what would fail, or lose the training, later on."""
    every, epochs = options["check_val_every_n_epoch"], options["max_epochs"]
    if every > epochs:
        raise FmlabError(
            f"trainer.check_val_every_n_epoch must be at most trainer.max_epochs={epochs}, got {every}: the best "
            "epoch is selected on validation"
        )
    checkpoint_every(options)
    gpus, wanted = torch.cuda.device_count(), options["accelerator"]
    if wanted == "gpu" and not gpus and not torch.backends.mps.is_available():
        raise FmlabError("trainer.accelerator=gpu needs a GPU, got a machine without one; choices: auto, cpu")
    devices, on_gpu = options["devices"], gpus > 0 and wanted in ("auto", "gpu")
    most = gpus if on_gpu else os.cpu_count() or 1
    # On processors each device is a process of its own: too many of them would stifle the machine.
    if isinstance(devices, int) and wanted in ("auto", "cpu", "gpu") and devices > most:
        what = "GPUs" if on_gpu else "processor cores"
        raise FmlabError(f"trainer.devices must be at most the {most} {what} of this machine, got {devices}")


def make_trainer(
    options: Mapping[str, Any],
    task: Task,
    folder: Path,
    used: list[Any],
    keeper: BestCheckpoint,
    more: Sequence[Callback],
    launch: Launch,
) -> pl.Trainer:
    """`used`: loggers. Callbacks of others, `more`, come before fmlab's own; `launch`: the processes of the run."""
    monitor = f"val/{task.monitor}"
    own = ("patience", "reduce_lr", "threads", "progress", "checkpoint_every")
    bar = sys.stderr.isatty() if options["progress"] == "auto" else bool(options["progress"])
    lightning = {k: v for k, v in options.items() if k not in own}
    plugins: list[Any] = [SafeCheckpointIO()]
    if lightning["precision"] == "64-true":
        del lightning["precision"]
        plugins.append(_Float64())
    if options["strategy"] == "ddp" or (options["strategy"] == "auto" and launch.world > 1):
        lightning["strategy"] = RowSparseDDP(launch)
    else:
        plugins.append(cluster(launch))
    callbacks: list[Callback] = [*more, EpochLogger(bar=bar)]
    if options["reduce_lr"]:
        callbacks.append(ReduceOnPlateau(monitor, maximize=task.maximize, factor=float(options["reduce_lr"])))
    if options["patience"]:
        callbacks.append(EarlyStopping(monitor, maximize=task.maximize, patience=int(options["patience"])))
    trainer = pl.Trainer(
        **lightning,
        logger=used or False,
        callbacks=[*callbacks, keeper],  # the last one: it saves the state of the others
        enable_checkpointing=False,
        plugins=plugins,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    trainer._signal_connector = _NoSignals(trainer)
    return trainer


def checkpoint_every(options: Mapping[str, Any]) -> float | None:
    """Seconds between checkpoints within an epoch, None for none; raises FmlabError if they are not a time."""
    every = options["checkpoint_every"]
    return None if every is None else seconds(every, "trainer.checkpoint_every")


def lasting_options(options: Mapping[str, Any], trainer: pl.Trainer, launch: Launch) -> dict[str, Any]:
    """What changes the result and must be as it was when a run is resumed, in one form for each meaning."""
    limit = options["limit_train_batches"]
    return {
        "patience": options["patience"] or None,
        "reduce_lr": options["reduce_lr"],
        "precision": options["precision"],
        "check_val_every_n_epoch": options["check_val_every_n_epoch"],
        "gradient_clip_val": options["gradient_clip_val"],
        "limit_train_batches": None if isinstance(limit, float) and limit == 1 else limit,
        "deterministic": options["deterministic"],
        "accelerator": trainer.strategy.root_device.type,
        "devices": launch.world,  # of all nodes: together they train on one batch
    }


class _Float64(DoublePrecision):
    """Lightning's own takes batches apart to convert them; ours come in the type of the model."""

    def convert_input(self, data: Any) -> Any:
        """The batch as it is."""
        return data


class _NoSignals(_SignalConnector):
    """Lightning's handler of SIGTERM talks to other processes within the handler, and loses the epoch; see `Stop`."""

    def register_signal_handlers(self) -> None:
        """Leave the program's handlers in place."""


class EarlyStopping(Callback):
    """Ends the training after `patience` validations in a row that are not better than the best, or one not finite.

    Lightning's own does so after the checkpoint of the epoch is written; here the count is part of that checkpoint.
    """

    def __init__(self, monitor: str, *, maximize: bool, patience: int) -> None:
        self.monitor, self.maximize, self.patience = monitor, maximize, patience
        self.best: float | None = None
        self.waited, self.broken = 0, False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A run that had ended here does not go on when it is resumed."""
        self._end(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare, while training, and end it."""
        if trainer.state.fn != "fit":
            return
        value = float(trainer.callback_metrics[self.monitor])
        self.broken = not math.isfinite(value)
        if not self.broken and (self.best is None or (value > self.best if self.maximize else value < self.best)):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        self._end(trainer)

    def _end(self, trainer: pl.Trainer) -> None:
        if self.broken or self.waited >= self.patience:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """What was best so far, and how many validations since."""
        return {"best": self.best, "waited": self.waited, "broken": self.broken}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.best, self.waited, self.broken = (state_dict[k] for k in ("best", "waited", "broken"))


class ReduceOnPlateau(Callback):
    """Multiplies the learning rate by `factor` after every validation that is not better than all before it.

    A scheduler of Lightning's takes its step after the checkpoint of the epoch is written, and a resumed run would
    have lost it; here the rate is reduced before, and travels in the state of the optimizer.
    """

    def __init__(self, monitor: str, *, maximize: bool, factor: float) -> None:
        self.monitor, self.maximize, self.factor = monitor, maximize, factor
        self.best: float | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare, while training, and reduce."""
        if trainer.state.fn != "fit":
            return
        value = float(trainer.callback_metrics[self.monitor])
        if self.best is None or (value > self.best if self.maximize else value < self.best):
            self.best = value
            return
        for group in trainer.optimizers[0].param_groups:
            group["lr"] *= self.factor
            log.info(f"no better {self.monitor}: the learning rate is now {group['lr']:.3g}")

    def state_dict(self) -> dict[str, Any]:
        """What was best so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on comparing with what was best."""
        self.best = state_dict["best"]
