"""Training anew on more rows, with what the validation selected, before the test."""

import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from fmlab.contracts import FitsRows, FollowsValidation, Scheduler, Task
from fmlab.errors import FmlabError
from fmlab.evaluation.label_scale import LabelScale, label_scale_of
from fmlab.records.folder import RunFolder
from fmlab.run.building import Parts, assemble
from fmlab.run.optimization import epoch_steps
from fmlab.run.row_fitting import asked, fit_rows
from fmlab.training.checkpoint_format import read_checkpoint
from fmlab.training.distributed import is_first_process
from fmlab.training.signals import Stopped

log = logging.getLogger("fmlab")
FOLDER = "refit"


@dataclass(frozen=True)
class Selected:
    """How long a model was trained when its validation was best.

    `epochs`, of which the last one may be short, and their `steps`; `epoch_steps` are those of a whole epoch.
    `validations`: step and value of each validation until then, larger is better. `rounds` are those of a model that
    trains itself. `scale`: that of the labels.
    """

    epochs: int = 0
    steps: int = 0
    epoch_steps: int = 0
    validations: Sequence[tuple[int, float]] = ()
    rounds: int | None = None
    scale: LabelScale | None = None

    @classmethod
    def of(cls, best: Path, rounds: int | None, scale: LabelScale | None) -> "Selected":
        """As the checkpoint of the best epoch says; raises StorageError."""
        saved = read_checkpoint(best)
        steps, training = int(saved.get("global_step") or 0), saved.get("training") or {}
        if not steps:
            return cls(rounds=rounds, scale=scale)
        seen = tuple((int(step), float(value)) for step, value in training.get("validations", ()))
        return cls(int(saved["epoch"]) + 1, steps, int(training.get("epoch_steps") or 0), seen, rounds, scale)

    def steps_of(self, epoch: int) -> int:
        """As many epochs where a whole one has so many steps."""
        return max(1, round(self.steps * epoch / self.epoch_steps)) if self.epoch_steps else self.epochs * epoch


def check_refit(plain: Mapping[str, Any], task: Task) -> None:
    """Raise FmlabError where training cannot be repeated without a validation."""
    if task.refit is None:
        return
    if plain["trainer"].get("reduce_lr"):
        raise FmlabError(
            "a refit trains without a validation, which trainer.reduce_lr waits for; got "
            f"reduce_lr={plain['trainer']['reduce_lr']}: write scheduler=plateau "
            f"scheduler.factor={plain['trainer']['reduce_lr']}"
        )
    if plain["warm_start"]:
        raise FmlabError("a refit starts anew; got warm_start: leave it out, or test the model of the training rows")


class ValidationReplay(Callback):
    """Tells a scheduler that follows the validation what the validations were, at the same parts of the training."""

    def __init__(self, scheduler: Scheduler | None, selected: Selected, epoch: int) -> None:
        """`epoch`: steps of a whole epoch of the training that is repeated on more rows."""
        self.scheduler, self.done = scheduler, 0
        self.values = [value for _, value in selected.validations]
        ratio = epoch / (selected.epoch_steps or epoch)
        self.steps = [round(step * ratio) for step, _ in selected.validations]

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        """The next step has the rate after the validations up to here."""
        while self.done < len(self.steps) and self.steps[self.done] <= trainer.global_step:
            if isinstance(self.scheduler, FollowsValidation):
                self.scheduler.validated(self.values[self.done])
            self.done += 1

    def state_dict(self) -> dict[str, Any]:
        """How many it has told; the scheduler keeps what it made of them."""
        return {"done": self.done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the next."""
        self.done = int(state_dict["done"])


def train_anew(
    plain: Mapping[str, Any],
    task: Task,
    selected: Selected,
    place: RunFolder,
    callbacks: Sequence[Callback],
    resumes: bool,
) -> tuple[Parts, Path, dict[str, Any]]:
    """New parts trained on the task's training rows, the checkpoint to test, and what the record says of it.

    The epochs are those up to the best one of the validation; a model without parameters is fitted once, one that
    trains itself for `rounds`. A run that was stopped here goes on where it was. Raises KeyboardInterrupt where it is
    stopped.
    """
    inner = RunFolder(place.path / FOLDER)
    if is_first_process():
        inner.checkpoints.mkdir(parents=True, exist_ok=True)
    began, rows, epochs = time.perf_counter(), len(task.training.rows), selected.epochs
    whole = plain["trainer"]["max_epochs"]  # a schedule goes on as if all epochs were trained, as it did before
    epoch = epoch_steps(plain["trainer"], -(-rows // int(plain["batch_size"])))
    trainer = {**plain["trainer"], "patience": None, "max_epochs": epochs, "check_val_every_n_epoch": epochs + 1}
    if epochs:
        trainer["max_steps"] = selected.steps_of(epoch)
    again = {**plain, "trainer": trainer, "logger": {"name": "none"}, "schedule_epochs": whole}
    replay = ValidationReplay(None, selected, epoch)
    new = assemble(again, task, inner, [], [*callbacks, replay], [], selected.scale)
    replay.scheduler = new.learner.scheduler
    how_long = f" for {selected.steps / (selected.epoch_steps or selected.steps):.3g} epochs" if epochs else ""
    log.info(f"refit{how_long} on {rows:,} rows, those of training and validation")
    if epochs:
        _fit(new, inner.last if resumes and inner.last.is_file() else None)
    else:
        if isinstance(new.model, FitsRows):
            loss, scale, seed = new.learner.loss, label_scale_of(new.model), int(plain["seed"])
            fit_rows(new.model, task, loss, scale, seed, asked(callbacks), selected.rounds)
        new.trainer.strategy.connect(new.learner)
        new.trainer.save_checkpoint(new.keeper.last)
    said = {"rows": rows, "epochs": epochs or None, "seconds": round(time.perf_counter() - began, 3)}
    return new, new.keeper.last, said


def _fit(parts: Parts, resume: Path | None) -> None:
    try:
        with parts.keeper.stop.listening():
            parts.trainer.fit(parts.learner, ckpt_path=resume, weights_only=True)
    except (SystemExit, Stopped) as error:
        if isinstance(error, Stopped) and not is_first_process():
            raise SystemExit(0) from error
        raise KeyboardInterrupt("interrupted while training anew on all rows; resume with if_exists=resume") from error


def keep(place: RunFolder, tested: Path) -> None:
    """The tested checkpoint becomes the best one of the run; what was selected is no longer needed."""
    if is_first_process() and tested.parent.parent.name == FOLDER:
        os.replace(tested, place.best)
        shutil.rmtree(place.path / FOLDER)
