"""One run: composed config -> built parts -> fit -> best checkpoint -> test once -> run folder."""

import io
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback

from fmlab.contracts import FitsRows, Report, Task
from fmlab.data import Dataset, dataset_statistics
from fmlab.data.derived_fields import DerivedFields
from fmlab.data.leakage import said, unseen_of
from fmlab.errors import FmlabError, StorageError
from fmlab.evaluation import evaluate, flops, planted_scorer
from fmlab.evaluation.audit import Audit, audit_of, audited
from fmlab.evaluation.label_scale import label_scale_of
from fmlab.files import write_bytes
from fmlab.records.folder import RunFolder, remove_drafts_of_run
from fmlab.run.building import Parts, assemble
from fmlab.run.calibrating import calibrate, check_calibration
from fmlab.run.derived_task import with_derived_fields
from fmlab.run.keeping import keep_serving_data
from fmlab.run.locate import locate
from fmlab.run.opening import open_source, open_task
from fmlab.run.refit import check_refit, keep, refit, refitted
from fmlab.run.row_fitting import asked, fit_rows
from fmlab.run.run_record_writer import RunRecord
from fmlab.run.warm_start import match_vocabularies, open_trained, options_from
from fmlab.terminal.escaping import shown
from fmlab.training import loggers, run_warnings
from fmlab.training.checkpoint_format import read_checkpoint
from fmlab.training.clock import Pace
from fmlab.training.distributed import ending_children, is_first_process, take_rank
from fmlab.training.processes import this_launch
from fmlab.training.progress import figure
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
    with place.held() if is_first_process() else nullcontext():
        given = plain["ckpt_path"] and str(locate(Path(plain["ckpt_path"]), "last").checkpoint)
        resume = place.resume_checkpoint(given, plain["if_exists"])
        if is_first_process():
            place.make_room(resume, plain["if_exists"])
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
    opened = _open(plain, record)
    validation, test, diverged = _train(plain, opened, place, resume, record, used, callbacks)
    _report(opened, validation, test, diverged, record)
    if is_first_process():
        units = io.BytesIO()
        np.savez_compressed(units, allow_pickle=False, **test.units)
        write_bytes(place.units, units.getvalue())
    return float(validation.values[opened.task.monitor])


class _Opened(NamedTuple):
    """The data of a run: the data set before its protocol left out rows, what is judged, and what is trained on.

    `task` is `judged` with the fields that `derived` adds to its rows, and with the groups of `audit`.
    """

    source: Dataset
    judged: Task
    task: Task
    derived: DerivedFields | None
    audit: Audit | None


def _open(plain: Mapping[str, Any], record: RunRecord) -> _Opened:
    """The data and the task, which the record and the log describe."""
    source = open_source(plain)
    judged = open_task(plain, source)
    data = judged.dataset
    record.update(statistics=dataset_statistics.measured(data), published=dataset_statistics.plain_published(data))
    audit = audit_of(judged, refitted(judged).training.rows)
    new = unseen_of(data, judged.training.rows, validation=judged.validation, test=judged.test)
    record.update(steps=[vars(s) for s in data.steps], fingerprint=data.fingerprint, unseen=new)
    record.update(protocol_described=dict(judged.described))
    facts = [f"  {name}: {what}" for name, what in judged.described.items()]
    for line in (*dataset_statistics.lines(data), *facts, *said(new), *(audit.lines("test") if audit else ())):
        log.info(line)
    task, derived = with_derived_fields(plain, judged)
    return _Opened(source, judged, audited(task, audit), derived, audit)


def _build(
    plain: dict[str, Any],
    opened: _Opened,
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
    parts = assemble(plain, task, place, used, callbacks, trained)
    check_calibration(plain, task, parts.learner.loss)
    if trained:
        record.update(
            warm_start=[{"path": str(t.path), "fields": t.counts, "reinitialized": t.reinitialized} for t in trained]
        )
    record.update(parameters=_parameters(parts), flops=flops.of_row(parts.model, data).total)
    rows = f"{len(task.training.rows):,} training rows"
    log.info(f"{plain['model']['name']}: {_parameters(parts):,} parameters, {rows}")
    return plain, parts


def _parameters(parts: Parts) -> int:
    return sum(p.numel() for p in parts.model.parameters() if p.requires_grad)


def _train(
    plain: dict[str, Any],
    opened: _Opened,
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
        validation = _judge(parts, best if trains else None, "validate")
        record.update(**calibrate(plain, task, parts, place))
        if task.refit is not None:
            parts, best, anew = refit(_released(parts), plain, place, callbacks, resume is not None, rounds)
            record.update(refit=anew)
        test = _judge(parts, best if trains else None, "test")
    keep(place, best)
    record.update(seconds_test=round(time.perf_counter() - began, 3))
    return validation, test, parts.learner.diverged


def _report(
    opened: _Opened, validation: Report, test: Report, diverged: Mapping[str, float] | None, record: RunRecord
) -> None:
    """Write to the record and the log how the model was judged."""
    task, audit = opened.task, opened.audit
    planted = planted_scorer(task.dataset)
    record.update(
        status="complete",
        monitor=task.monitor,
        maximize=task.maximize,
        validation=dict(validation.values),
        test=dict(test.values),
        audit=None if audit is None else {"shares": dict(audit.shares), "groups": _plain(test.groups)},
        **({"test_details": dict(test.details)} if test.details else {}),
        known_best=None if planted is None else dict(evaluate(task.test, planted, task.dataset).values),
    )
    log.info("test  " + "  ".join(f"{k} {figure(v)}" for k, v in test.values.items()))
    record.update(**run_warnings.findings(task, test, diverged))


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


def _plain(groups: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {name: dict(figures) for name, figures in groups.items()}


def _released(parts: Parts) -> Parts:
    """Without the model, which is on disk and may be large."""
    parts.learner.model = torch.nn.Identity()
    return replace(parts, model=parts.learner.model)


def _judge(parts: Parts, best: Path | None, what: str) -> Report:
    """The report of a part of the data, for the model of a checkpoint, or as it is in memory."""
    getattr(parts.trainer, what)(parts.learner, ckpt_path=best, verbose=False, weights_only=True)
    assert parts.learner.report is not None
    return parts.learner.report
