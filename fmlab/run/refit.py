"""Training anew on more rows, with what the validation selected, before the test."""

import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import Callback

from fmlab.contracts import FitsRows, FollowsValidation, Task
from fmlab.errors import FmlabError
from fmlab.evaluation.label_scale import label_scale_of
from fmlab.plugin.registry import build
from fmlab.records.folder import RunFolder
from fmlab.run.building import Parts, assemble
from fmlab.run.row_fitting import asked, fit_rows
from fmlab.training.distributed import is_first_process
from fmlab.training.signals import Stopped

log = logging.getLogger("fmlab")
FOLDER = "refit"


def refitted(task: Task) -> Task:
    """The task with the rows of its `refit` as training rows; itself where it has none."""
    if task.refit is None:
        return task
    return task.changed(training=replace(task.training, rows=task.refit), refit=None)


def check_refit(plain: Mapping[str, Any], task: Task) -> None:
    """Raise FmlabError where training cannot be repeated without a validation."""
    if task.refit is None:
        return
    if plain["trainer"].get("reduce_lr"):
        raise FmlabError(
            "a refit trains without a validation, which trainer.reduce_lr waits for; got "
            f"reduce_lr={plain['trainer']['reduce_lr']}: set trainer.reduce_lr=null, or protocol.refit=false"
        )
    if "scheduler" in plain and isinstance(build("scheduler", plain["scheduler"], 1, 1), FollowsValidation):
        raise FmlabError(
            "a refit trains without a validation, which the scheduler waits for; got "
            f"scheduler={plain['scheduler']['name']}: choose another one, or protocol.refit=false"
        )
    if plain["warm_start"]:
        raise FmlabError("a refit starts anew; got warm_start: leave it out, or set protocol.refit=false")


def refit(
    parts: Parts,
    plain: Mapping[str, Any],
    place: RunFolder,
    callbacks: Sequence[Callback],
    resumes: bool,
    rounds: int | None = None,
) -> tuple[Parts, Path, dict[str, Any]]:
    """New parts trained on the rows of `refit`, the checkpoint to test, and what the record says of it.

    The epochs are those up to the best one of the validation; a model without parameters is fitted once, one that
    trains itself for `rounds`. A run that
    was stopped here goes on where it was. Raises KeyboardInterrupt where it is stopped.
    """
    epochs = 0 if parts.keeper.epoch is None else parts.keeper.epoch + 1
    inner = RunFolder(place.path / FOLDER)
    trainer = {**plain["trainer"], "patience": None, "max_epochs": epochs, "check_val_every_n_epoch": epochs + 1}
    whole = plain["trainer"]["max_epochs"]  # a schedule goes on as if all epochs were trained, as it did before
    again = {**plain, "trainer": trainer, "logger": {"name": "none"}, "schedule_epochs": whole}
    if is_first_process():
        inner.checkpoints.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    new = assemble(again, refitted(parts.task), inner, [], callbacks, [])
    rows = len(new.task.training.rows)
    how_long = f" for {epochs} epochs" if epochs else ""
    log.info(f"refit{how_long} on {rows:,} rows, those of training and validation")
    if epochs:
        _fit(new, inner.last if resumes and inner.last.is_file() else None)
    else:
        if isinstance(new.model, FitsRows):
            loss, scale, seed = new.learner.loss, label_scale_of(new.model), int(plain["seed"])
            fit_rows(new.model, new.task, loss, scale, seed, asked(callbacks), rounds)
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
