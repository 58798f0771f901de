"""One run: composed config -> built parts -> fit -> best checkpoint -> test once -> run folder."""

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

from fmlab.contracts import FitsRows, Report
from fmlab.data import Dataset
from fmlab.errors import FmlabError, StorageError
from fmlab.evaluation import flops
from fmlab.evaluation.label_scale import label_scale_of
from fmlab.evaluation.latency import microseconds_per_row, model_bytes
from fmlab.records.folder import RunFolder, remove_drafts_of_run
from fmlab.run.building import Parts, assemble
from fmlab.run.calibrating import calibrate, check_calibration
from fmlab.run.judging import judge, keep_units, report
from fmlab.run.keeping import keep_serving_data
from fmlab.run.locate import locate
from fmlab.run.model_size import n_parameters
from fmlab.run.opened_run import OpenedRun, enlarged, open_run
from fmlab.run.refit import FOLDER as REFIT
from fmlab.run.refit import Selected, check_refit, keep, train_anew
from fmlab.run.row_fitting import asked, fit_rows
from fmlab.run.run_record_writer import RunRecord
from fmlab.run.serving_file import FILE
from fmlab.run.warm_start import match_vocabularies, open_trained, options_from
from fmlab.terminal.escaping import shown
from fmlab.training import loggers
from fmlab.training.checkpoint_format import read_checkpoint
from fmlab.training.clock import Pace
from fmlab.training.distributed import ending_children, is_first_process, take_rank
from fmlab.training.processes import this_launch
from fmlab.training.resume_checks import refuse_changes, refuse_mismatch, refuse_shapes
from fmlab.training.signals import Stopped
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
    plain = cast(
        dict[str, Any],
        OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        if isinstance(config, DictConfig)
        else dict(config),
    )
    refuse_unfit(plain["trainer"])
    take_rank(this_launch(plain["trainer"]))
    place = RunFolder(folder)
    with place.locked() if is_first_process() else nullcontext():
        given = plain["ckpt_path"] and str(locate(Path(plain["ckpt_path"]), "last").checkpoint)
        resume = place.resume_checkpoint(given, plain["if_exists"])
        if is_first_process():
            place.clear_or_refuse(resume, plain["if_exists"])
        record = RunRecord(place, plain)
        used = loggers.build(plain["logger"], plain, folder)
        try:
            value = _run(plain, place, resume, record, used, callbacks)
        except BaseException as error:
            with suppress(StorageError):  # the disk may be full: the first error is the one to tell
                stopped = isinstance(error, KeyboardInterrupt | SystemExit)
                status = "interrupted" if stopped else getattr(error, "status", "failed")
                record.update(status=status, error=shown(str(error)))
            loggers.close(used, {}, failed=True)
            raise
        loggers.close(used, record.figures(), failed=False)
    return value


def _run(
    plain: dict[str, Any],
    place: RunFolder,
    resume: Path | None,
    record: RunRecord,
    used: list[Any],
    callbacks: Sequence[Callback],
) -> float:
    torch.set_num_threads(plain["trainer"]["threads"] or torch.get_num_threads())
    opened = open_run(plain, record)
    validation, test, diverged = _train(plain, opened, place, resume, record, used, callbacks)
    report(opened, validation.values, test, diverged, record)
    keep_units(place, test)
    return float(validation.values[opened.task.monitor])


def _build(
    plain: dict[str, Any],
    opened: OpenedRun,
    place: RunFolder,
    record: RunRecord,
    used: list[Any],
    callbacks: Sequence[Callback],
) -> tuple[dict[str, Any], Parts]:
    """The parts of the run, and its options with those that trained models of `warm_start` give."""
    task, data = opened.task, opened.task.dataset
    trained = [open_trained(p) for p in plain["warm_start"]]
    found = options_from(plain["model"], trained)
    if found:
        record.update(model_options=found)
        log.info(f"{plain['model']['name']}: " + ", ".join(f"{k}={v}" for k, v in found.items()) + " by warm_start")
        plain, trained = {**plain, "model": {**plain["model"], **found}}, []
    for one in trained:
        match_vocabularies(one, data, int(plain["seed"]))
    check_refit(plain, task)
    _ask_of_size(plain, data, callbacks)
    parts = assemble(plain, task, place, used, callbacks, trained)
    check_calibration(plain, task, parts.learner.loss)
    if trained:
        record.update(
            warm_start=[{"path": str(t.path), "fields": t.counts, "reinitialized": t.reinitialized} for t in trained]
        )
    record.update(parameters=_parameters(parts), flops=flops.of_row(parts.model, data).total)
    record.update(training_rows=len(task.training.rows))
    rows = f"{len(task.training.rows):,} training rows"
    log.info(f"{plain['model']['name']}: {_parameters(parts):,} parameters, {rows}")
    return plain, parts


def _ask_of_size(plain: Mapping[str, Any], data: Dataset, callbacks: Sequence[Callback]) -> None:
    """Tell callbacks that have `on_size(parameters)` how large the model will be, before it is built."""
    asking = [callback.on_size for callback in callbacks if hasattr(callback, "on_size")]
    size = n_parameters(plain["model"], data.schema, plain.get("table")) if asking else None
    for on_size in asking:
        if size is not None:
            on_size(size)


def _parameters(parts: Parts) -> int:
    return sum(p.numel() for p in parts.model.parameters() if p.requires_grad)


def _train(
    plain: dict[str, Any],
    opened: OpenedRun,
    place: RunFolder,
    resume: Path | None,
    record: RunRecord,
    used: list[Any],
    callbacks: Sequence[Callback],
) -> tuple[Report, Report, Mapping[str, float] | None]:
    """Reports of the validation and of the test, and where training diverged.

    The parts are named here alone, so that a model is gone before a refit builds the next one.
    """
    plain, parts = _build(plain, opened, place, record, used, callbacks)
    if is_first_process():
        keep_serving_data(plain, opened.source, opened.judged, opened.derived, parts, place)
    task, trains, rounds = parts.task, _parameters(parts) > 0, None
    with ending_children(parts.trainer):
        if isinstance(parts.model, FitsRows):
            scale, seed = label_scale_of(parts.model), int(plain["seed"])
            fitted = fit_rows(parts.model, task, parts.learner.loss, scale, seed, asked(callbacks))
            record.update(**fitted)
            rounds = int(fitted["epochs"])
        best = _fit(parts, plain, resume, record) if trains else _save_untrained(parts)
        began = time.perf_counter()
        validation = judge(parts, best if trains else None, "validate")
        record.update(
            bytes=model_bytes(parts.model),
            microseconds_per_row=round(microseconds_per_row(parts.model, task.dataset), 3),
        )
        record.update(**calibrate(plain, task, parts, place))
        if task.refit is not None:
            selected = Selected.of(best, rounds, label_scale_of(parts.model)) if trains else Selected(rounds=rounds)
            parts = _released(parts)
            opened = enlarged(plain, opened, opened.derived)
            parts, best, anew = train_anew(plain, opened.task, selected, place, callbacks, resume is not None)
            record.update(refit=anew)
        test = judge(parts, best if trains else None, "test")
    _keep(plain, opened, parts, place, best)
    record.update(seconds_test=round(time.perf_counter() - began, 3))
    return validation, test, parts.learner.diverged


def _fit(parts: Parts, plain: Mapping[str, Any], resume: Path | None, record: RunRecord) -> Path:
    trainer, keeper, learner = parts.trainer, parts.keeper, parts.learner
    if resume:
        remove_drafts_of_run(resume)
        saved = read_checkpoint(resume)
        saved["fmlab"].setdefault("scheduler", {"name": "none"})  # of a release that had no schedulers
        refuse_mismatch(resume, saved["fmlab"], learner.identity)
        refuse_shapes(resume, saved["state_dict"], learner.state_dict())
        allow = plain["resume_changes"] == "allow"
        refuse_changes(resume, saved, learner.options, plain["trainer"]["max_epochs"], allow=allow)
        if is_first_process():
            keeper.resume(saved, resume)
    learner.pace = Pace()
    try:
        with keeper.stop.listening():
            trainer.fit(learner, ckpt_path=resume, weights_only=True)
    except (SystemExit, Stopped) as error:  # Lightning turns Ctrl-C into an exit
        if isinstance(error, Stopped) and not is_first_process():
            raise SystemExit(0) from error  # the first process tells
        hint = f"resume with ckpt_path={keeper.last}" if keeper.last.is_file() else "nothing was saved yet"
        raise KeyboardInterrupt(f"interrupted in epoch {trainer.current_epoch}; {hint}") from error
    if keeper.value is None:
        raise FmlabError(
            f"selecting a model needs a validation value of {parts.task.monitor}, got none in {trainer.current_epoch} "
            "epochs"
        )
    record.update(
        epochs=trainer.current_epoch,
        best_epoch=keeper.epoch,
        seconds_fit=round(learner.pace.seconds, 3),
        rows_per_second=round(learner.pace.rows_per_second),
    )
    return keeper.best


def _save_untrained(parts: Parts) -> Path:
    """A model without parameters is judged as it is."""
    parts.trainer.strategy.connect(parts.learner)
    parts.trainer.save_checkpoint(parts.keeper.best)
    return parts.keeper.best


def _keep(plain: Mapping[str, Any], opened: OpenedRun, parts: Parts, place: RunFolder, tested: Path) -> None:
    """The tested checkpoint becomes the best one, with the fields of the rows that it was trained on."""
    anew = tested.parent.parent.name == REFIT
    if anew and opened.derived is not None and is_first_process():
        (place.path / FILE).unlink(missing_ok=True)  # with other fields it would serve the wrong rows
    keep(place, tested)
    if anew and opened.derived is not None and is_first_process():
        keep_serving_data(plain, opened.source, opened.judged, opened.derived, parts, place)


def _released(parts: Parts) -> Parts:
    """Without the model, which is on disk and may be large."""
    parts.learner.model = torch.nn.Identity()
    return replace(parts, model=parts.learner.model)
