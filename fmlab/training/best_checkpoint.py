"""The callback that writes `last.ckpt` and `best.ckpt`, and stops training when a signal asks for it."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from fmlab.errors import FmlabError
from fmlab.files import write_bytes
from fmlab.records.folder import RunFolder
from fmlab.training.checkpoint_format import read_checkpoint, require_entries
from fmlab.training.curves import Curves
from fmlab.training.resume_checks import is_within_epoch
from fmlab.training.signals import Stop, Stopped


class BestCheckpoint(Callback):
    """Writes `last.ckpt` after every epoch, and `best.ckpt` when the monitored metric is better than ever before.

    Within an epoch `last.ckpt` is written when the latest one is `every` seconds old, and when the process gets a
    signal to stop; then Stopped is raised. The best value is part of the checkpoint: a resumed run compares with it,
    and copies the best checkpoint from the folder of the checkpoint that it resumes.
    """

    clock = staticmethod(time.monotonic)

    def __init__(
        self, folder: RunFolder, monitor: str, maximize: bool, *, every: float | None = None, curves: bool = True
    ) -> None:
        """`every`: seconds, None for epochs only. `curves`: whether metrics.csv is written."""
        self.last, self.best = folder.last, folder.best
        self.monitor, self.maximize, self.every = monitor, maximize, every
        self.curves = Curves(folder.curves) if curves else None
        self.stop = Stop()
        self.value: float | None = None
        self.epoch: int | None = None
        self._saved, self._validated = 0.0, False

    # ------------------------------------------------------------------------------ when to save

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The processes agree whether to save or stop: the learner exchanges their requests after each batch."""
        self._saved = self.clock()
        first = trainer.is_global_zero

        def request() -> int:
            if self.stop.number:
                return 1 + self.stop.number
            return int(first and self.every is not None and self.clock() - self._saved >= self.every)

        self._request = pl_module.request = request  # type: ignore[assignment]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save within the epoch; not after its last batch, which the validation or the end of the epoch follows."""
        request = pl_module.agreed_request if trainer.world_size > 1 else self._request()
        if request and batch_idx + 1 < trainer.num_training_batches and not trainer.should_stop:
            self._save(trainer)
            if request > 1:
                raise Stopped(request - 1)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Save between the last batch and the end of the epoch; the resumed run validates from the start."""
        if trainer.state.fn == "fit" and self.stop.number and trainer.is_global_zero:
            # Not `trainer.save_checkpoint`: the other processes are in validation and would not join it.
            trainer.strategy.save_checkpoint(trainer._checkpoint_connector.dump_checkpoint(False), self.last)
            raise Stopped(self.stop.number)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Within a validation, mark the validation as not begun: a resumed run would skip it otherwise."""
        if trainer.validating and trainer.state.fn == "fit":
            none = {"ready": 0, "completed": 0, "started": 0, "processed": 0}
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            progress |= {"total": none | {"ready": 1, "started": 1}, "current": none, "is_last_batch": False}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The trainer's metrics are now those of this epoch."""
        self._validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Runs after validation, in every process, and after the other callbacks whose state is saved."""
        found = trainer.callback_metrics.get(self.monitor) if self._validated else None
        better = found is not None and self._better(float(found))
        if better:
            assert found is not None
            self.value, self.epoch = float(found), trainer.current_epoch
        self._add_to_curves(trainer, float(pl_module.mean_loss()), pl_module.learning_rate)
        self._validated = False
        self._save(trainer)
        if better and trainer.is_global_zero:
            write_bytes(self.best, self.last.read_bytes())
        trainer.strategy.barrier()
        number = int(trainer.strategy.broadcast(self.stop.number))
        if number:
            raise Stopped(number)

    def _add_to_curves(self, trainer: pl.Trainer, loss: float, rate: float | None) -> None:
        if self.curves is not None and trainer.is_global_zero:
            shown = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
            row = {"epoch": trainer.current_epoch, "step": trainer.global_step - 1, "train/loss": loss}
            row |= {} if rate is None else {"lr": rate}
            self.curves.add(row | (shown if self._validated else {}))

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.last, weights_only=False)
        self._saved = self.clock()

    def _better(self, value: float) -> bool:
        if self.value is None:
            return not math.isnan(value)
        return value > self.value if self.maximize else value < self.value

    # ---------------------------------------------------------------------------------- resuming

    def state_dict(self) -> dict[str, Any]:
        """The best value so far and its epoch."""
        return {"value": self.value, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value and its epoch."""
        self.value, self.epoch = state_dict["value"], state_dict["epoch"]

    def resume(self, saved: Mapping[str, Any], path: Path) -> None:
        """Copy the curves and the best checkpoint of the run that `path` belongs to.

        Raises FmlabError if the best checkpoint is not there.
        """
        require_entries(saved, path, "epoch", "callbacks.BestCheckpoint.epoch")
        epoch = saved["callbacks"]["BestCheckpoint"]["epoch"]
        best = path if saved["epoch"] == epoch else path.with_name(self.best.name)
        if epoch is not None:
            if not best.is_file():
                raise FmlabError(
                    f"to resume from {path}, the best checkpoint so far must be in its folder, got no {best}"
                )
            found = saved["epoch"] if best is path else read_checkpoint(best)["epoch"]
            if found != epoch:
                raise FmlabError(
                    f"to resume from {path}, the best checkpoint in its folder must be of epoch {epoch}, got {best} of "
                    f"epoch {found}"
                )
            if best.absolute() != self.best.absolute():
                write_bytes(self.best, best.read_bytes())
        if self.curves is not None:
            source = path.parent.parent / self.curves.path.name
            self.curves.resume(source, saved["epoch"] + (0 if is_within_epoch(saved) else 1))
