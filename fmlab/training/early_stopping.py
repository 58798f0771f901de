"""The end of a training whose validation no longer improves, counted so that a resumed run ends as a whole one."""

import math
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


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
