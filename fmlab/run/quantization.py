"""A finished run with its embedding tables in 8 bits, as a run of its own, judged as it was."""

import logging
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fmlab.errors import FmlabError, StorageError
from fmlab.evaluation.latency import microseconds_per_row, model_bytes
from fmlab.nn.quantized import INT8, quantize, quantized_tables
from fmlab.records.folder import RunFolder
from fmlab.records.record import read_record
from fmlab.run.building import assemble
from fmlab.run.calibration import calibrate
from fmlab.run.checkpoint_evaluation import evaluate_test, evaluate_validation
from fmlab.run.derived_task import NO_FIELDS
from fmlab.run.loading import QUANTIZED, identity_of, model_of
from fmlab.run.locate import locate
from fmlab.run.results import write_results
from fmlab.run.run_opening import OpenedRun, on_refit_rows, open_run
from fmlab.run.run_record_writer import RunRecord
from fmlab.run.serving_data import ServingData
from fmlab.run.serving_file import read_serving_data
from fmlab.terminal.escaping import shown
from fmlab.training.checkpoint_entries import IDENTITY, MODEL_PREFIX, PARAMETERS
from fmlab.training.checkpoint_format import SafeCheckpointIO, read_checkpoint

log = logging.getLogger("fmlab")
_KEPT = (
    *("parameters", "flops", "training_rows", "epochs", "best_epoch", "seconds_fit", "rows_per_second"),
    *("model_options", "search", "refit", "cut"),
)
"""Of the record of the run that was trained."""


def quantize_run(config: Mapping[str, Any], source: Path, folder: Path) -> None:
    """Store the tables of a finished run in 8 bits, and judge the model by the validation and the test of that run.

    `config`: all options of the run in the folder `source`. `folder`: the new run folder, which predicts, recommends,
    exports and takes part in reports; its record holds the figures and the bytes of before under `quantized`. Nothing
    is selected by the test. Raises FmlabError for a model without tables, other data, or a folder that holds a run;
    StorageError.
    """
    before = _record(source)
    place = locate(source)
    saved = read_checkpoint(place.checkpoint)
    identity, _ = identity_of(saved, place.checkpoint)
    if identity.get(QUANTIZED) is not None:
        raise FmlabError(f"a run is stored in 8 bits once, {source} is in {identity[QUANTIZED]} already")
    model = model_of(saved, place.checkpoint)
    held = model_bytes(model)
    quantize(model, str(identity["model"]["name"]))
    config = {**config, "logger": {"name": "none"}, "ckpt_path": None, "warm_start": []}
    torch.set_num_threads(config["trainer"]["threads"] or torch.get_num_threads())
    run_folder, origin = RunFolder(folder), RunFolder(place.folder)
    if there := run_folder.contents():
        raise FmlabError(f"a run in 8 bits has a folder of its own, {folder} holds a run ({there}); give another one")
    with run_folder.locked():
        record = RunRecord(run_folder, dict(config))
        try:
            opened = _opened(config, read_serving_data(origin.serving), record)
            if opened.dataset.fingerprint != identity["data"]:
                raise FmlabError(f"a run is judged again on its own data, those of {source} have changed since")
            built = assemble(config, opened.task, run_folder, [], [], [])
            built.learner.model = model
            built = replace(built, model=model)
            run_folder.checkpoints.mkdir(parents=True, exist_ok=True)
            validation = evaluate_validation(built, None)
            record.update(**calibrate(config, built.task, model, validation.predictions, run_folder))
            began = time.perf_counter()
            test = evaluate_test(built, None).report
            _save(model, identity, run_folder)
            shutil.copyfile(origin.serving, run_folder.serving)
            now = model_bytes(model)
            record.update(
                **{key: before[key] for key in _KEPT if key in before},
                bytes=now,
                microseconds_per_row=round(microseconds_per_row(model, built.task.dataset), 3),
                seconds_test=round(time.perf_counter() - began, 3),
                quantized={
                    "stored_as": INT8,
                    "tables": quantized_tables(model),
                    "of": source.name,
                    "bytes": held,
                    "validation": before["validation"],
                    "test": before["test"],
                },
            )
            write_results(opened, validation.report.values, test, None, record, run_folder)
        except BaseException as error:
            with suppress(StorageError):  # the disk may be full: the first error is the one to tell
                stopped = isinstance(error, KeyboardInterrupt | SystemExit)
                record.update(status="interrupted" if stopped else "failed", error=shown(str(error)))
            raise


def _record(source: Path) -> Mapping[str, Any]:
    path = RunFolder(source).metrics
    try:
        found: Mapping[str, Any] = read_record(path)
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    if found.get("status") != "complete":
        raise FmlabError(
            f"a run is stored in 8 bits when it is complete, the status of {source} is {found.get('status')}"
        )
    return found


def _opened(config: Mapping[str, Any], served: ServingData, record: RunRecord) -> OpenedRun:
    """The data and the task, with the derived fields that the run serves."""
    if served.derived is None:
        return open_run(config, record)
    return on_refit_rows(config, open_run({**config, **NO_FIELDS}, record), served.derived)


def _save(model: torch.nn.Module, identity: Mapping[str, Any], folder: RunFolder) -> None:
    state = {MODEL_PREFIX + name: tensor for name, tensor in model.state_dict().items()}
    saved = {IDENTITY: {**identity, QUANTIZED: INT8}, PARAMETERS: state}
    SafeCheckpointIO().save_checkpoint(saved, folder.best)
