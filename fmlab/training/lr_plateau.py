"""A learning rate that falls after every epoch without a better validation."""

import logging
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

log = logging.getLogger("fmlab")


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
