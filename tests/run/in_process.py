"""Runs in this process: composed as on the command line, stopped and killed at chosen batches, compared whole."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from fmlab.config.composition import compose
from fmlab.run.experiment import run
from fmlab.training.checkpoint_format import read_checkpoint

SMALL = (
    *("data.users=200", "data.items=120", "data.positives=12", "batch_size=256"),
    *("trainer.accelerator=cpu", "trainer.threads=1", "trainer.progress=false"),
)


class SignalAt(pl.Callback):
    """Sends a signal after a batch of the training, or within a validation."""

    def __init__(self, batch: int | None = None, *, validation: int | None = None, number: int = signal.SIGTERM):
        """`batch`: counted over epochs from the start of this process; `validation`: likewise."""
        self.batch, self.validation, self.number = batch, validation, number
        self.batches = self.validations = 0

    def on_train_batch_end(self, *_: Any) -> None:
        if self.batches == self.batch:
            os.kill(os.getpid(), self.number)
        self.batches += 1

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.state.fn == "fit":
            if self.validations == self.validation:
                os.kill(os.getpid(), self.number)
            self.validations += 1


def train(folder: Path, *overrides: str, callbacks: Sequence[pl.Callback] = (), small: Sequence[str] = SMALL) -> float:
    environment = {"FMLAB_CACHE": str(folder.parent / "cache")}
    return run(compose([*small, *overrides], environment), folder, callbacks)


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


def last(folder: Path) -> dict[str, Any]:
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")


def differences(a: Path, b: Path) -> list[str]:
    """What two finished runs differ in: weights, optimizer, callbacks, counts, curves, metrics.

    Clocks are left out, and the generators that only a plugin draws from.
    """
    found = list(_differ("last", last(a), last(b)))
    found += _differ("best", *(read_checkpoint(f / "checkpoints" / "best.ckpt") for f in (a, b)))
    for key in ("epochs", "best_epoch", "validation", "test"):
        found += _differ(key, metrics(a)[key], metrics(b)[key])
    found += _differ("metrics.csv", *((f / "metrics.csv").read_text().splitlines() for f in (a, b)))
    return [f for f in found if not any(part in f for part in (".pace.", ".random.", ".epoch_loop.val_loop."))]


def _differ(name: str, a: Any, b: Any) -> list[str]:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if torch.equal(a, b) else [f"{name} differs"]
    if isinstance(a, dict) and isinstance(b, dict):
        return [f for k in {**a, **b} for f in _differ(f"{name}.{k}", a.get(k), b.get(k))]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [f for i, (x, y) in enumerate(zip(a, b, strict=True)) for f in _differ(f"{name}[{i}]", x, y)]
    return [] if a == b else [f"{name}: {a} and {b}"]
