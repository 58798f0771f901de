"""What a trial's training tells the study, and where the study ends it."""

import time
from typing import Any

import numpy as np
import pytorch_lightning as pl

from fmlab.data import Array
from fmlab.evaluation.latency import microseconds_per_row
from fmlab.sweep.messages import Progress
from fmlab.training.learner import Learner

_HALF = 0.5  # of the time that a trial may train, after which its learning rate falls as where validation stalls
_LOOK = 1.0  # seconds of a validation or of training after which its length is told
_WARM = 3  # steps that are slower than those that follow
_FORWARD = 1 / 3  # of the time of a row in training, that it takes to be scored


class FewerEpochs(Exception):
    """The learning rate would not come down in time: the run begins again with this number of `epochs`."""

    status = "fewer epochs"

    def __init__(self, epochs: int) -> None:
        super().__init__(f"there is time for {epochs} epochs")
        self.epochs = epochs


class Reporter(pl.Callback):
    """Reports the monitored value after each validation; ends the run where it is pruned, given up or out of time."""

    def __init__(self, progress: Progress, *, measured: bool = False) -> None:
        """`measured`: the number of epochs was chosen by the time that they take."""
        self.progress = progress
        self._measured = measured or progress.goes_on is not None
        self._clock: tuple[int, float] | None = None  # step and time from which on steps are measured
        self.cut: dict[str, float] | None = None  # where its time ended a run that had more to do
        self._began, self._blocks = 0.0, 0  # of the validation that runs
        self.rate_fell: float | None = None  # epochs after which the rate fell because half of the time was over
        self.scores: Array | None = None  # float32 of the validation rows, where rows are scored

    def on_size(self, parameters: int) -> None:
        """Raises TrialPruned where the model, which is not built yet, is larger than the sweep takes."""
        self.progress.refuse_larger(parameters)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Raises TrialPruned where the model is larger or slower than the sweep takes."""
        self.progress.refuse_larger(sum(p.numel() for p in pl_module.parameters() if p.requires_grad))
        if self.progress.max_latency is not None:
            self.progress.refuse_slower(microseconds_per_row(pl_module.model, pl_module.task.dataset))
        self.progress.began = time.monotonic()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the clock: what validations take is kept back for those after training."""
        self._began, self._blocks = time.monotonic(), 0

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any, **__: Any) -> None:
        """Raises TrialTooLong where the validation would last longer than there is time, TrialLost."""
        self.progress.check()
        self._blocks += 1
        spent = time.monotonic() - self._began
        if trainer.state.fn == "fit" and spent > _LOOK:
            each = spent * len(pl_module.task.validation) / self._blocks
            self.progress.judging(each, each - spent, _parts(pl_module))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report; raises Pruned, or Lost. What is validated after training is kept."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            each = time.monotonic() - self._began
            self.progress.tail = max(self.progress.tail, each * _parts(pl_module))
        if trainer.state.fn == "validate":
            self.scores = _scores(pl_module)
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        name = f"val/{self.progress.metric or _monitor(pl_module)}"
        if name in trainer.callback_metrics:
            self.progress.step(trainer.current_epoch, float(trainer.callback_metrics[name]))
        if self.progress.time_is_up:
            if trainer.max_epochs is None or trainer.current_epoch + 1 < trainer.max_epochs:
                self._cut(trainer, pl_module, trainer.current_epoch + 1)
            trainer.should_stop = True
        elif self.rate_fell is None and self.progress.goes_on is None and self.progress.share > _HALF:
            assert isinstance(pl_module, Learner)
            if pl_module.stall():
                self.rate_fell = trainer.current_epoch + 1

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Raises Lost once somebody else runs this trial; out of time, the epoch ends here and is validated.

        Raises FewerEpochs where the learning rate falls until an end for which there is no time.
        """
        self.progress.check()
        self.progress.refuse_more_memory()
        if not self._measured and getattr(pl_module.scheduler, "depends_on_end", False):
            self._measure(trainer, pl_module)
        if self.progress.time_is_up and batch_idx + 1 < trainer.num_training_batches:  # else the validation ends it
            part = (batch_idx + 1) / trainer.num_training_batches
            self._cut(trainer, pl_module, trainer.current_epoch + part)
            trainer.should_stop = True

    def on_round(self, number: int) -> bool:
        """Whether a model that trains itself goes on; raises Lost once somebody else runs this trial."""
        self.progress.check()
        if self.progress.time_is_up and self.cut is None:
            self.cut = {"epochs": number + 1, "share": 1.0}
        return not self.progress.time_is_up

    def _measure(self, trainer: pl.Trainer, learner: Any) -> None:
        """Raises FewerEpochs, once steps have been measured, where fewer epochs than wanted fit into the time."""
        now, step = time.monotonic(), trainer.global_step
        if self._clock is None:
            self._clock = (step, now) if step >= _WARM else None
            return
        first, began = self._clock
        if now - began < _LOOK and step < trainer.num_training_batches:
            return
        self._measured = True
        left, batches = self.progress.training_left, int(trainer.num_training_batches)
        if left is None or step == first or trainer.max_epochs is None:
            return
        rows = len(learner.task.training.rows) * batches / max(1, len(learner.loader))  # an epoch may be a part of them
        judged = _FORWARD * len(learner.task.validation) / max(1.0, rows)
        epoch = (now - began) / (step - first) * batches * (1 + judged)
        if epoch * (trainer.max_epochs - step / batches) > left:
            raise FewerEpochs(max(1, int((left + epoch * step / batches) / epoch)))

    def _cut(self, trainer: pl.Trainer, learner: Any, epochs: float) -> None:
        """Note how far the run came: epochs, and the share of all training rows that it can have seen."""
        if self.cut is None and not trainer.should_stop:
            seen = min(1.0, trainer.global_step / max(1, len(learner.loader)))
            self.cut = {"epochs": round(epochs, 3), "share": round(seen, 4)}


def _scores(learner: pl.LightningModule) -> Array | None:
    """Scores of the rows that were validated, in their order; None where items were ranked."""
    assert isinstance(learner, Learner)
    unit, columns = learner.last_evaluation().predictions
    if "score" not in columns or "label" not in columns:
        return None
    return np.asarray(columns["score"][np.argsort(unit, kind="stable")], np.float32)


def _parts(learner: Any) -> float:
    """Validations that judging takes after training is cut: that of the epoch, that of the best one, and the test."""
    return 2 + len(learner.task.test) / max(1, len(learner.task.validation))


def _monitor(learner: pl.LightningModule) -> str:
    assert isinstance(learner, Learner)
    return learner.task.monitor
