"""Lightning's trainer from the config's: what it is given, and what is refused before anything is read."""

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
    own = ("patience", "threads", "progress")
    bar = sys.stderr.isatty() if options["progress"] == "auto" else bool(options["progress"])
    lightning = {k: v for k, v in options.items() if k not in own}
    if options["strategy"] == "ddp" or (options["strategy"] == "auto" and _several(options["devices"])):
        lightning["strategy"] = RowSparseDDP()
    callbacks: list[Callback] = [*more, EpochLines(bar=bar)]
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


def _several(devices: int | str | list[int]) -> bool:
    if devices == "auto":
        return torch.cuda.device_count() > 1
    return len(devices) > 1 if isinstance(devices, list) else int(devices) > 1
