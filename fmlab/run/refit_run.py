"""A finished run again on its training and validation rows, as a run of its own: nothing is selected anew."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import Callback

from fmlab.config.schema import BOTH
from fmlab.contracts import FitsRows
from fmlab.errors import StorageError
from fmlab.records.folder import RunFolder
from fmlab.records.record import read_record
from fmlab.run.checkpoint_evaluation import evaluate_test
from fmlab.run.derived_task import NO_FIELDS
from fmlab.run.model_size import n_trained
from fmlab.run.refit import fit_anew, keep_as_best
from fmlab.run.results import write_results
from fmlab.run.run_opening import on_refit_rows, open_run
from fmlab.run.run_record_writer import RunRecord
from fmlab.run.serving_data_writer import write_serving_data
from fmlab.run.serving_file import read_serving_data
from fmlab.run.structure import read_structure, searches
from fmlab.run.training_length import TrainingLength, check_refit
from fmlab.terminal.escaping import shown

log = logging.getLogger("fmlab")
# Of the record of the run that selected.
_SELECTED = ("epochs", "best_epoch", "calibration", "model_options", "cut", "search")


def refit_run(config: Mapping[str, Any], selected_by: Path, folder: Path, callbacks: Sequence[Callback] = ()) -> None:
    """Train on the rows of both parts what a finished run selected on the validation, and test it once.

    `config`: all options of that run. `selected_by`: its folder, which says for how long and with which derived fields
    the model is trained; its validation figures are those of the record here. `callbacks` are those of `run`. Raises
    FmlabError, StorageError, KeyboardInterrupt.
    """
    config = {**config, "refit_on": BOTH, "logger": {"name": "none"}, "ckpt_path": None}
    run_folder = RunFolder(folder)
    with run_folder.locked():
        run_folder.clear_or_refuse(None, "overwrite")
        record = RunRecord(run_folder, dict(config))
        try:
            _refit(config, selected_by, run_folder, record, callbacks)
        except BaseException as error:
            with suppress(StorageError):  # the disk may be full: the first error is the one to tell
                stopped = isinstance(error, KeyboardInterrupt | SystemExit)
                status = "interrupted" if stopped else getattr(error, "status", "failed")
                record.update(status=status, error=shown(str(error)))
            raise


def _refit(
    config: Mapping[str, Any], selected_by: Path, folder: RunFolder, record: RunRecord, callbacks: Sequence[Callback]
) -> None:
    torch.set_num_threads(config["trainer"]["threads"] or torch.get_num_threads())
    best = RunFolder(selected_by)
    try:
        before: Mapping[str, Any] = read_record(best.metrics)
    except (OSError, ValueError) as error:
        raise StorageError(f"{best.metrics} cannot be read: {error}") from error
    served = read_serving_data(best.serving)
    opened = open_run({**config, **NO_FIELDS}, record)
    check_refit(config, opened.base_task)
    opened = on_refit_rows(config, opened, served.derived)
    structure = read_structure(best.structure) if searches(config) else None
    selected = TrainingLength.of(best.best, int(before.get("epochs") or 0) or None, served.scale)
    built, tested, facts = fit_anew(config, opened.task, selected, folder, callbacks, False, structure)
    facts = {**facts, "selected_by": selected_by.name}
    parameters = n_trained(built.model)
    by_steps = parameters > 0 and not isinstance(built.model, FitsRows)
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    write_serving_data(config, opened, built, folder)
    began = time.perf_counter()
    test = evaluate_test(built, tested if by_steps else None).report
    keep_as_best(folder, tested)
    record.update(
        refit=facts,
        parameters=parameters,
        seconds_fit=facts["seconds"],
        seconds_test=round(time.perf_counter() - began, 3),
        **{key: before[key] for key in _SELECTED if key in before},
    )
    write_results(opened, before["validation"], test, built.learner.diverged, record, folder)
