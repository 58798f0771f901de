"""Training anew on more rows, with what the validation selected, before the test."""

import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from fmlab.contracts import FitsRows, FollowsValidation, Scheduler, Task
from fmlab.evaluation.output_transform import output_transform_of
from fmlab.records.folder import RunFolder
from fmlab.run.building import BuiltRun, assemble
from fmlab.run.fitting import save_as_is, train
from fmlab.run.optimization import epoch_steps
from fmlab.run.row_fitting import fit_rows, rounds_go_on
from fmlab.run.structure import Structure
from fmlab.run.training_length import TrainingLength
from fmlab.training.distributed import is_first_process

log = logging.getLogger("fmlab")
FOLDER = "refit"


class ValidationReplay(Callback):
    """Tells a scheduler that follows the validation what the validations were, at the same parts of the training."""

    def __init__(self, scheduler: Scheduler | None, selected: TrainingLength, epoch: int) -> None:
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


def fit_anew(
    config: Mapping[str, Any],
    task: Task,
    selected: TrainingLength,
    folder: RunFolder,
    callbacks: Sequence[Callback],
    resumes: bool,
    structure: Structure | None = None,
) -> tuple[BuiltRun, Path, dict[str, Any]]:
    """New parts trained on the task's training rows, the checkpoint to test, and what the record says of it.

    The epochs are those up to the best one of the validation; a model without parameters is fitted once, one that
    trains itself for `rounds`. `structure`: what a search
    found on the training rows. A run that was stopped here goes on where it was. Raises KeyboardInterrupt where it is
    stopped.
    """
    inner = RunFolder(folder.path / FOLDER)
    if is_first_process():
        inner.checkpoints.mkdir(parents=True, exist_ok=True)
    began, rows, epochs = time.perf_counter(), len(task.training.rows), selected.epochs
    whole = config["trainer"]["max_epochs"]  # a schedule goes on as if all epochs were trained, as it did before
    epoch = epoch_steps(config["trainer"], -(-rows // int(config["batch_size"])))
    trainer = {**config["trainer"], "patience": None, "max_epochs": epochs, "check_val_every_n_epoch": epochs + 1}
    if epochs:
        trainer["max_steps"] = selected.steps_of(epoch)
    again = {**config, "trainer": trainer, "logger": {"name": "none"}, "schedule_epochs": whole}
    replay = ValidationReplay(None, selected, epoch)
    how_long = f" for {selected.steps / (selected.epoch_steps or selected.steps):.3g} epochs" if epochs else ""
    log.info(f"refit{how_long} on {rows:,} rows, those of training and validation")
    new = assemble(again, task, inner, [], [*callbacks, replay], [], selected.scale, structure)
    replay.scheduler = new.learner.scheduler
    if epochs:
        resume = inner.last if resumes and inner.last.is_file() else None
        train(new, resume, lambda: "interrupted while training anew on all rows; resume with if_exists=resume")
    else:
        if isinstance(new.model, FitsRows):
            loss, scale, seed = new.learner.loss, output_transform_of(new.model), int(config["seed"])
            fit_rows(new.model, task, loss, scale, seed, rounds_go_on(callbacks), selected.rounds)
        save_as_is(new, new.checkpoints.last)
    said = {"rows": rows, "epochs": epochs or None, "seconds": round(time.perf_counter() - began, 3)}
    return new, new.checkpoints.last, said


def is_refit(checkpoint: Path) -> bool:
    """Whether a checkpoint is one of a refit, which is not the best one of its run yet."""
    return checkpoint.parent.parent.name == FOLDER


def keep_as_best(folder: RunFolder, tested: Path) -> None:
    """The checkpoint of a refit becomes the best one of the run; what was selected is no longer needed."""
    if is_first_process() and is_refit(tested):
        os.replace(tested, folder.best)
        shutil.rmtree(folder.path / FOLDER)
