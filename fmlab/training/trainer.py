"""Lightning's trainer from the config's: what it is given, and what is refused before anything is read."""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
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
from fmlab.training.best_checkpoint import BestCheckpoint
from fmlab.training.checkpoint_format import SafeCheckpointIO
from fmlab.training.distributed import RowSparseDDP, cluster
from fmlab.training.early_stopping import EarlyStopping
from fmlab.training.lr_plateau import ReduceOnPlateau
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
    missing = {"mps": not torch.backends.mps.is_available(), "tpu": find_spec("torch_xla") is None}
    if missing.get(wanted):
        raise FmlabError(
            f"trainer.accelerator={wanted} is not there on this machine; choices: auto, cpu{', gpu' * bool(gpus)}"
        )
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
    run_loggers: list[Any],
    checkpoints: BestCheckpoint,
    more: Sequence[Callback],
    launch: Launch,
) -> pl.Trainer:
    """Callbacks of others, `more`, come before fmlab's own; `launch`: the processes of the run."""
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
        logger=run_loggers or False,
        callbacks=[*callbacks, checkpoints],  # the last one: it saves the state of the others
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
