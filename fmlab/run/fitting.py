"""The training of what a run has built: by steps, by the model itself, or not at all."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pytorch_lightning.callbacks import Callback
from torch import nn

from fmlab.contracts import FitsRows
from fmlab.errors import FmlabError
from fmlab.evaluation.output_transform import output_transform_of
from fmlab.records.folder import remove_drafts_of_run
from fmlab.run.building import BuiltRun
from fmlab.run.model_size import n_trained
from fmlab.run.row_fitting import fit_rows, rounds_go_on
from fmlab.run.run_record_writer import RunRecord
from fmlab.run.training_length import TrainingLength
from fmlab.training.checkpoint_entries import IDENTITY, PARAMETERS
from fmlab.training.checkpoint_format import read_checkpoint
from fmlab.training.clock import Pace
from fmlab.training.distributed import is_first_process
from fmlab.training.resume_checks import refuse_changes, refuse_mismatch, refuse_shapes
from fmlab.training.signals import Stopped


class Fitted(NamedTuple):
    """What training gave: the `checkpoint` that is selected, and the rounds of a model that trained itself.

    `by_steps`: whether the model has parameters that an optimizer trained; another is evaluated as it is in memory.
    """

    checkpoint: Path
    by_steps: bool
    rounds: int | None = None

    @property
    def saved_parameters(self) -> Path | None:
        """The checkpoint that an evaluation loads; None where the model in memory is evaluated."""
        return self.checkpoint if self.by_steps else None

    def selected(self, model: nn.Module) -> TrainingLength:
        """How long the model was trained; raises StorageError."""
        if not self.by_steps:
            return TrainingLength(rounds=self.rounds)
        return TrainingLength.of(self.checkpoint, self.rounds, output_transform_of(model))


def fit(
    built: BuiltRun,
    config: Mapping[str, Any],
    resume: Path | None,
    callbacks: Sequence[Callback],
    record: RunRecord,
) -> Fitted:
    """Train the model, from the checkpoint `resume` if there is one; raises FmlabError, KeyboardInterrupt."""
    rounds = None
    if isinstance(built.model, FitsRows):
        scale, seed = output_transform_of(built.model), int(config["seed"])
        facts = fit_rows(built.model, built.task, built.learner.loss, scale, seed, rounds_go_on(callbacks))
        record.update(**facts)
        rounds = int(facts["epochs"])
    if n_trained(built.model):
        return Fitted(_fit_by_steps(built, config, resume, record), True, rounds)
    save_as_is(built, built.checkpoints.best)
    if rounds is None:
        record.note(seconds_fit=round(built.seconds_prepared, 3))
    return Fitted(built.checkpoints.best, False, rounds)


def save_as_is(built: BuiltRun, path: Path) -> None:
    """Save a model that no step trains."""
    built.trainer.strategy.connect(built.learner)
    built.trainer.save_checkpoint(path)


def train(built: BuiltRun, resume: Path | None, interrupted: Callable[[], str]) -> None:
    """Train by steps; raises KeyboardInterrupt with the text of `interrupted` where a signal ended the training."""
    try:
        with built.checkpoints.stop.listening():
            built.trainer.fit(built.learner, ckpt_path=resume, weights_only=True)
    except (SystemExit, Stopped) as error:  # Lightning turns Ctrl-C into an exit
        if isinstance(error, Stopped) and not is_first_process():
            raise SystemExit(0) from error  # the first process tells
        raise KeyboardInterrupt(interrupted()) from error


def _fit_by_steps(built: BuiltRun, config: Mapping[str, Any], resume: Path | None, record: RunRecord) -> Path:
    trainer, checkpoints, learner = built.trainer, built.checkpoints, built.learner
    if resume:
        _prepare_resume(built, config, resume)
    learner.pace = Pace()

    def interrupted() -> str:
        saved = checkpoints.last.is_file()
        hint = f"resume with ckpt_path={checkpoints.last}" if saved else "nothing was saved yet"
        return f"interrupted in epoch {trainer.current_epoch}; {hint}"

    train(built, resume, interrupted)
    if checkpoints.value is None:
        raise FmlabError(
            f"selecting a model needs a validation value of {built.task.monitor}, got none in {trainer.current_epoch} "
            "epochs"
        )
    record.update(
        epochs=trainer.current_epoch,
        best_epoch=checkpoints.epoch,
        seconds_fit=round(learner.pace.seconds, 3),
        rows_per_second=round(learner.pace.rows_per_second),
    )
    return checkpoints.best


def _prepare_resume(built: BuiltRun, config: Mapping[str, Any], resume: Path) -> None:
    """Check that training may go on from a checkpoint, and take the best epoch so far from it."""
    learner = built.learner
    remove_drafts_of_run(resume)
    saved = read_checkpoint(resume)
    saved[IDENTITY].setdefault("scheduler", {"name": "none"})  # of a release that had no schedulers
    refuse_mismatch(resume, saved[IDENTITY], learner.identity)
    refuse_shapes(resume, saved[PARAMETERS], learner.state_dict())
    allow = config["resume_changes"] == "allow"
    refuse_changes(resume, saved, learner.options, config["trainer"]["max_epochs"], allow=allow)
    if is_first_process():
        built.checkpoints.resume(saved, resume)
