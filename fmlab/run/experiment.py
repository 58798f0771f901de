"""One run: open the data, build the parts, fit, validate, calibrate or refit, test once, write the results."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback

from fmlab.errors import StorageError
from fmlab.evaluation.latency import microseconds_per_row, model_bytes
from fmlab.records.folder import RunFolder
from fmlab.run.building import BuiltRun, build_run
from fmlab.run.calibration import calibrate
from fmlab.run.checkpoint_evaluation import evaluate_test, evaluate_validation
from fmlab.run.fitting import fit
from fmlab.run.locate import locate
from fmlab.run.refit import fit_anew, is_refit, keep_as_best
from fmlab.run.results import write_results
from fmlab.run.run_opening import OpenedRun, on_refit_rows, open_run
from fmlab.run.run_record_writer import RunRecord
from fmlab.run.serving_data_writer import write_serving_data
from fmlab.run.structure_search import structure_of
from fmlab.terminal.escaping import shown
from fmlab.training import loggers
from fmlab.training.distributed import ending_children, is_first_process, take_rank
from fmlab.training.processes import this_launch
from fmlab.training.trainer import refuse_unfit

log = logging.getLogger("fmlab")


def run(config: DictConfig | Mapping[str, Any], folder: Path, callbacks: Sequence[Callback] = ()) -> float:
    """Train, select on validation, test once; returns the best value of the monitored validation metric.

    `config`: all options of a run, composed and checked (`fmlab.config.composition.compose`). `callbacks` join the
    trainer's own; an exception of theirs with an attribute `status` gives the run that status.
    Leaves in `folder`: config.yaml, environment.json, metrics.json, units.npz (per-case test values), serving.bin,
    checkpoints/best.ckpt and last.ckpt, metrics.csv. Raises FmlabError, also where another run holds the folder or
    has left its results there; KeyboardInterrupt leaves a run that `ckpt_path=` resumes.
    """
    options = cast(
        dict[str, Any],
        OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        if isinstance(config, DictConfig)
        else dict(config),
    )
    refuse_unfit(options["trainer"])
    take_rank(this_launch(options["trainer"]))
    run_folder = RunFolder(folder)
    with run_folder.locked() if is_first_process() else nullcontext():
        given = options["ckpt_path"] and str(locate(Path(options["ckpt_path"]), "last").checkpoint)
        resume = run_folder.resume_checkpoint(given, options["if_exists"])
        if is_first_process():
            run_folder.clear_or_refuse(resume, options["if_exists"])
        record = RunRecord(run_folder, options)
        run_loggers = loggers.build(options["logger"], options, folder)
        try:
            value = _run(options, run_folder, resume, record, run_loggers, callbacks)
        except BaseException as error:
            with suppress(StorageError):  # the disk may be full: the first error is the one to tell
                stopped = isinstance(error, KeyboardInterrupt | SystemExit)
                status = "interrupted" if stopped else getattr(error, "status", "failed")
                record.update(status=status, error=shown(str(error)))
            loggers.close(run_loggers, {}, failed=True)
            raise
        loggers.close(run_loggers, record.test_metrics(), failed=False)
    return value


def _run(
    config: dict[str, Any],
    folder: RunFolder,
    resume: Path | None,
    record: RunRecord,
    run_loggers: list[Any],
    callbacks: Sequence[Callback],
) -> float:
    """The steps of a run in their order.

    What was built is named here alone, so that a model is gone before a refit builds the next one.
    """
    torch.set_num_threads(config["trainer"]["threads"] or torch.get_num_threads())
    opened = open_run(config, record)
    structure = structure_of(config, opened.task, folder, resume, callbacks)
    config, built = build_run(config, opened.task, folder, record, run_loggers, callbacks, structure)
    write_serving_data(config, opened, built, folder)
    tested = opened
    with ending_children(built.trainer):
        fitted = fit(built, config, resume, callbacks, record)
        began = time.perf_counter()
        validation = evaluate_validation(built, fitted.saved_parameters)
        _record_size(built, record)
        record.note(**calibrate(config, built.task, built.model, validation.predictions, folder))
        if opened.task.refit is not None:
            selected = fitted.selected(built.model)
            built = _without_model(built)
            tested = on_refit_rows(config, opened, opened.derived)
            resumes = resume is not None
            built, checkpoint, refit = fit_anew(config, tested.task, selected, folder, callbacks, resumes, structure)
            fitted = fitted._replace(checkpoint=checkpoint)
            record.note(refit=refit)
        test = evaluate_test(built, fitted.saved_parameters)
    _keep_tested(config, tested, built, fitted.checkpoint, folder)
    record.note(seconds_test=round(time.perf_counter() - began, 3))
    write_results(opened, validation.report.values, test.report, built.learner.diverged, record, folder)
    return float(validation.report.values[opened.task.monitor])


def _record_size(built: BuiltRun, record: RunRecord) -> None:
    """Note in the record what the fitted model takes in memory and in time."""
    latency = round(microseconds_per_row(built.model, built.task.dataset), 3)
    record.note(bytes=model_bytes(built.model), microseconds_per_row=latency)


def _without_model(built: BuiltRun) -> BuiltRun:
    """The parts without the model, which is on disk and may be large."""
    built.learner.model = torch.nn.Identity()
    return replace(built, model=built.learner.model)


def _keep_tested(
    config: Mapping[str, Any], opened: OpenedRun, built: BuiltRun, checkpoint: Path, folder: RunFolder
) -> None:
    """The tested checkpoint becomes the best one, with the fields of the rows that it was trained on."""
    new_fields = is_refit(checkpoint) and opened.derived is not None
    if new_fields and is_first_process():
        folder.serving.unlink(missing_ok=True)  # with other fields it would serve the wrong rows
    keep_as_best(folder, checkpoint)
    if new_fields:
        write_serving_data(config, opened, built, folder)
