"""Lightning's trainer from the config's: what it is given, and what is refused before anything is read."""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping

from fmlab.checkpoints import Keeper, SafeCheckpointIO
from fmlab.distributed import RowSparseDDP
from fmlab.errors import FmlabError
from fmlab.progress import EpochLines
from fmlab.protocols import Task

log = logging.getLogger("fmlab")


def refuse_unfit(options: Mapping[str, Any]) -> None:
    """Raise FmlabError for what would fail, or lose the training, later on."""
    every, epochs = options["check_val_every_n_epoch"], options["max_epochs"]
    if every > epochs:
        raise FmlabError(
            f"trainer.check_val_every_n_epoch must be at most trainer.max_epochs={epochs}, got {every}: the best "
            "epoch is selected on validation"
        )
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
    options: Mapping[str, Any], task: Task, folder: Path, used: list[Any], keeper: Keeper, more: Sequence[Callback]
) -> pl.Trainer:
    """`used`: loggers. Callbacks of others, `more`, come before fmlab's own."""
    monitor, mode = f"val/{task.monitor}", "max" if task.maximize else "min"
    own = ("patience", "reduce_lr", "threads", "progress")
    bar = sys.stderr.isatty() if options["progress"] == "auto" else bool(options["progress"])
    lightning = {k: v for k, v in options.items() if k not in own}
    if options["strategy"] == "ddp" or (options["strategy"] == "auto" and _several(options["devices"])):
        lightning["strategy"] = RowSparseDDP()
    callbacks: list[Callback] = [*more, EpochLines(bar=bar)]
    if options["reduce_lr"]:
        callbacks.append(ReduceOnPlateau(monitor, maximize=task.maximize, factor=float(options["reduce_lr"])))
    if options["patience"]:
        callbacks.append(EarlyStopping(monitor, patience=int(options["patience"]), mode=mode))
    return pl.Trainer(
        **lightning,
        logger=used or False,
        callbacks=[*callbacks, keeper],  # the last one: it saves the state of the others
        enable_checkpointing=False,
        plugins=[SafeCheckpointIO()],
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


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


def _several(devices: int | str | list[int]) -> bool:
    if devices == "auto":
        return torch.cuda.device_count() > 1
    return len(devices) > 1 if isinstance(devices, list) else int(devices) > 1
