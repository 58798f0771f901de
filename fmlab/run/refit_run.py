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
from fmlab.run.judging import judge, keep_units, report
from fmlab.run.keeping import keep_serving_data
from fmlab.run.opened_run import enlarged, open_run
from fmlab.run.refit import Selected, check_refit, keep, train_anew
from fmlab.run.run_record_writer import RunRecord
from fmlab.run.serving_file import FILE, read_serving_data
from fmlab.terminal.escaping import shown

log = logging.getLogger("fmlab")
_SELECTED = ("epochs", "best_epoch", "calibration", "model_options", "cut")  # of the record of the run that selected


def refit_run(plain: Mapping[str, Any], selected_by: Path, folder: Path, callbacks: Sequence[Callback] = ()) -> None:
    """Train on the rows of both parts what a finished run selected on the validation, and test it once.

    `plain`: all options of that run. `selected_by`: its folder, which says for how long and with which derived fields
    the model is trained; its validation figures are those of the record here. `callbacks` are those of `run`. Raises
    FmlabError, StorageError, KeyboardInterrupt.
    """
    plain = {**plain, "refit_on": BOTH, "logger": {"name": "none"}, "ckpt_path": None}
    place = RunFolder(folder)
    with place.locked():
        place.clear_or_refuse(None, "overwrite")
        record = RunRecord(place, dict(plain))
        try:
            _refit(plain, selected_by, place, record, callbacks)
        except BaseException as error:
            with suppress(StorageError):  # the disk may be full: the first error is the one to tell
                stopped = isinstance(error, KeyboardInterrupt | SystemExit)
                status = "interrupted" if stopped else getattr(error, "status", "failed")
                record.update(status=status, error=shown(str(error)))
            raise


def _refit(
    plain: Mapping[str, Any], selected_by: Path, place: RunFolder, record: RunRecord, callbacks: Sequence[Callback]
) -> None:
    torch.set_num_threads(plain["trainer"]["threads"] or torch.get_num_threads())
    best = RunFolder(selected_by)
    try:
        before: Mapping[str, Any] = read_record(best.metrics)
    except (OSError, ValueError) as error:
        raise StorageError(f"{best.metrics} cannot be read: {error}") from error
    served = read_serving_data(best.path / FILE)
    opened = open_run({**plain, "crosses": [], "target_statistics": []}, record)
    check_refit(plain, opened.judged)
    opened = enlarged(plain, opened, served.derived)
    selected = Selected.of(best.best, int(before.get("epochs") or 0) or None, served.scale)
    parts, tested, anew = train_anew(plain, opened.task, selected, place, callbacks, resumes=False)
    anew = {**anew, "selected_by": selected_by.name}
    parameters = sum(p.numel() for p in parts.model.parameters() if p.requires_grad)
    trains = parameters > 0 and not isinstance(parts.model, FitsRows)
    place.checkpoints.mkdir(parents=True, exist_ok=True)
    keep_serving_data(plain, opened.source, opened.judged, opened.derived, parts, place)
    began = time.perf_counter()
    test = judge(parts, tested if trains else None, "test")
    keep(place, tested)
    record.update(
        refit=anew,
        parameters=parameters,
        seconds_fit=anew["seconds"],
        seconds_test=round(time.perf_counter() - began, 3),
        **{key: before[key] for key in _SELECTED if key in before},
    )
    keep_units(place, test)
    report(opened, before["validation"], test, parts.learner.diverged, record)
