"""One run: composed config -> built parts -> fit -> best checkpoint -> test once -> run folder."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback
from torch import nn
from torch.optim import Optimizer

from fmlab import environment, flops, loggers, statistics
from fmlab.checkpoints import Keeper, read_checkpoint, refuse_mismatch
from fmlab.data import Dataset
from fmlab.distributed import is_first_process
from fmlab.dryrun import try_one_batch
from fmlab.errors import DataError, FmlabError
from fmlab.evaluation import evaluate, planted_scorer
from fmlab.files import write_json, write_text
from fmlab.identity import identify
from fmlab.learner import Learner
from fmlab.linking import write_shared
from fmlab.loaders import TrainingLoader
from fmlab.locate import locate
from fmlab.overlap import said, unseen_of
from fmlab.protocols import ChecksLabels, Observes, Report, Source, Task
from fmlab.rebuild import build_model, load_model
from fmlab.redaction import redacted
from fmlab.registry import build
from fmlab.serving_data import FILE, ServingData
from fmlab.store import open_dataset
from fmlab.trainer import make_trainer, refuse_unfit
from fmlab.warm_start import Trained, grow, open_trained, options_from, start_from

__all__ = ["Parts", "assemble", "build_model", "load_model", "open_source", "open_task", "run"]

log = logging.getLogger("fmlab")


@dataclass(frozen=True)
class Parts:
    """Everything built from one config."""

    task: Task
    model: nn.Module
    learner: Learner
    trainer: pl.Trainer
    keeper: Keeper


# A multirun's jobs share one process: the last data set and task stay open between them.
_open: dict[str, tuple[str, Any]] = {}


def run(config: DictConfig, folder: Path, callbacks: Sequence[Callback] = ()) -> float:
    """Train, select on validation, test once; returns the best value of the monitored validation metric.

    `callbacks` join the trainer's own; an exception of theirs with an attribute `status` gives the run that status.
    Leaves in `folder`: config.yaml, environment.json, metrics.json, units.npz (per-case test values), serving.bin,
    checkpoints/best.ckpt and last.ckpt, metrics.csv. Raises FmlabError; KeyboardInterrupt leaves a run that
    `ckpt_path=` resumes.
    """
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    record = _Record(folder, plain)
    used = loggers.build(plain["logger"], plain, folder)
    try:
        value = _run(plain, folder, record, used, callbacks)
    except BaseException as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else getattr(error, "status", "failed")
        record.update(status=status, error=str(error))
        loggers.close(used, {}, failed=True)
        raise
    loggers.close(used, record.figures(), failed=False)
    return value


def _run(
    plain: dict[str, Any], folder: Path, record: "_Record", used: list[Any], callbacks: Sequence[Callback]
) -> float:
    refuse_unfit(plain["trainer"])
    torch.set_num_threads(plain["trainer"]["threads"] or torch.get_num_threads())
    source = open_source(plain)
    task = open_task(plain, source)
    data = task.dataset
    record.update(statistics=statistics.measured(data), published=statistics.published(data))
    new = unseen_of(data, task.training.rows, validation=task.validation, test=task.test)
    record.update(steps=[vars(s) for s in data.steps], fingerprint=data.fingerprint, unseen=new)
    for line in (*statistics.lines(data), *said(new)):
        log.info(line)
    trained = [open_trained(p) for p in plain["warm_start"]]
    found = options_from(plain["model"], trained)
    if found:
        record.update(model_options=found)
        log.info(f"{plain['model']['name']}: " + ", ".join(f"{k}={v}" for k, v in found.items()) + " by warm_start")
        plain, trained = {**plain, "model": {**plain["model"], **found}}, []
    for one in trained:
        grow(one, data, int(plain["seed"]))
    parts = assemble(plain, task, folder, used, callbacks, trained)
    if trained:
        record.update(warm_start=[{"path": str(t.path), "fields": t.counts, "anew": t.anew} for t in trained])
    del trained  # it may be large
    _keep_serving_data(plain, source, parts, folder)
    parameters = sum(p.numel() for p in parts.model.parameters() if p.requires_grad)
    record.update(parameters=parameters, flops=flops.of_row(parts.model, data).total)
    log.info(f"{plain['model']['name']}: {parameters:,} parameters, {len(task.training.rows):,} training rows")
    best = _fit(parts, plain, record) if parameters else _save_untrained(parts)
    began = time.perf_counter()
    validation = _judge(parts, best, "validate")
    test = _judge(parts, best, "test")
    record.update(seconds_test=round(time.perf_counter() - began, 3))
    value = validation.values[task.monitor]
    record.update(
        status="complete",
        monitor=task.monitor,
        maximize=task.maximize,
        validation=dict(validation.values),
        test=dict(test.values),
        known_best=_known_best(task),
    )
    log.info("test  " + "  ".join(f"{k} {v:.4f}" for k, v in test.values.items()))
    if is_first_process():
        np.savez_compressed(folder / "units.npz", allow_pickle=False, **test.units)
    return value


def open_source(plain: Mapping[str, Any]) -> Dataset:
    """The prepared data set; the last one stays open for as long as its content, not its path, is the same."""
    root, cache, name = Path(plain["root"]), Path(plain["cache"]), plain["data"]["name"]
    options = {k: v for k, v in plain["data"].items() if k != "name"}
    source = build("data", plain["data"], root, gives=Source)
    identified = identify(source, name, options, root, cache)
    key = repr((name, identified[0], cache))
    return _reuse("data", key, lambda: open_dataset(source, name, options, root, cache, identified))


def open_task(plain: Mapping[str, Any], source: Dataset | None = None) -> Task:
    """The prepared data set, or `source`, under the configured protocol."""
    data = source or open_source(plain)
    return _reuse("task", _task_key(plain, data), lambda: build("protocol", plain["protocol"], data, gives=Task))


def _task_key(plain: Mapping[str, Any], data: Dataset) -> str:
    """The same for the same task: files that the protocol's options name count as they are now."""
    files = [v for v in plain["protocol"].values() if isinstance(v, str) and os.path.isfile(v)]
    states = [(s.st_size, s.st_mtime_ns, s.st_ino) for s in map(os.stat, files)]
    return repr((data.fingerprint, plain["protocol"], states))


def _reuse(kind: str, key: str, make: Any) -> Any:
    if kind not in _open or _open[kind][0] != key:
        _open[kind] = (key, make())
    return _open[kind][1]


def _keep_serving_data(plain: Mapping[str, Any], source: Dataset, parts: Parts, folder: Path) -> None:
    """Leave what serving needs of the data in the run folder; `source`: before the protocol left out rows."""
    if not is_first_process():
        return
    log_odds = bool(getattr(parts.learner.loss, "log_odds", False))

    def content() -> bytes:
        return ServingData.of(source, parts.task, log_odds=log_odds).to_bytes()

    try:
        packed = _reuse("serving", repr((_task_key(plain, source), log_odds)), content)
    except DataError as error:
        log.warning("this run cannot be used by predict, recommend and export: %s", error)
        return
    write_shared(folder / FILE, packed, Path(plain["cache"]))


def assemble(
    plain: Mapping[str, Any],
    task: Task,
    folder: Path,
    used: list[Any],
    callbacks: Sequence[Callback] = (),
    trained: Sequence[Trained] = (),
) -> Parts:
    """Build and dry-run everything, so that a mistake shows before the first epoch. `trained`: what to start from."""
    data, seed = task.dataset, int(plain["seed"])
    model = build_model(plain["model"], data.schema, seed)
    loss = build("loss", plain["loss"], gives=Callable)
    if isinstance(loss, ChecksLabels) and not task.training.negatives and data.label is not None:
        loss.check(np.asarray(data.label[task.training.rows]))
    optimizer = partial(build, "optimizer", plain["optimizer"], gives=Optimizer)
    loader = TrainingLoader(data, task.training, batch_size=int(plain["batch_size"]), seed=seed)
    _prepare_model(model, plain, task, trained)
    identity = {
        "model": dict(plain["model"]),
        "schema": data.schema.to_dict(),
        "loss": dict(plain["loss"]),
        "optimizer": dict(plain["optimizer"]),
        "protocol": dict(plain["protocol"]),
        "data": data.fingerprint,
        "seed": seed,
        "batch_size": int(plain["batch_size"]),
    }
    try_one_batch(model, loss, loader, name=plain["model"]["name"])
    learner = Learner(model, loss, optimizer, task, loader, identity)
    keeper = Keeper(folder / "checkpoints", f"val/{task.monitor}", task.maximize)
    trainer = make_trainer(plain["trainer"], task, folder, used, keeper, callbacks)
    return Parts(task, model, learner, trainer, keeper)


def _prepare_model(model: nn.Module, plain: Mapping[str, Any], task: Task, trained: Sequence[Trained]) -> None:
    """What a model takes before training: the parameters of trained models, and the training positives."""
    data, rows, name = task.dataset, task.training.rows, plain["model"]["name"]
    if trained:
        start_from(model, plain["model"], trained)
    if isinstance(model, Observes):
        if data.user is None or data.item is None:
            raise FmlabError(f"{name} reads user-item interactions; {data.name!r} has none")
        if data.label is not None and not task.training.negatives:
            rows = rows[np.asarray(data.label[rows]) > 0]
        user, item = (torch.from_numpy(np.asarray(a[rows], np.int64)) for a in (data.user, data.item))
        model.observe(user, item)


def _fit(parts: Parts, plain: Mapping[str, Any], record: "_Record") -> Path:
    trainer, began = parts.trainer, time.perf_counter()
    resume = str(locate(Path(plain["ckpt_path"]), "last").checkpoint) if plain["ckpt_path"] else None
    if resume:
        saved = read_checkpoint(Path(resume))
        refuse_mismatch(Path(resume), saved["fmlab"], parts.learner.identity)
        parts.keeper.resume(saved, Path(resume))
    try:
        trainer.fit(parts.learner, ckpt_path=resume, weights_only=True)
    except SystemExit as error:  # Lightning turns Ctrl-C into an exit
        last = parts.keeper.last
        hint = f"resume with ckpt_path={last}" if last.is_file() else "no epoch was finished"
        raise KeyboardInterrupt(f"interrupted in epoch {trainer.current_epoch}; {hint}") from error
    seconds = time.perf_counter() - began
    if parts.keeper.value is None:
        raise FmlabError(
            f"selecting a model needs a validation value of {parts.task.monitor}, got none in {trainer.current_epoch} "
            "epochs"
        )
    record.update(
        epochs=trainer.current_epoch,
        best_epoch=parts.keeper.epoch,
        seconds_fit=round(seconds, 3),
        rows_per_second=round(parts.learner.rows_per_second),
    )
    return parts.keeper.best


def _save_untrained(parts: Parts) -> Path:
    """A model without parameters is judged as it is."""
    parts.trainer.strategy.connect(parts.learner)
    parts.trainer.save_checkpoint(parts.keeper.best)
    return parts.keeper.best


def _judge(parts: Parts, best: Path, what: str) -> Report:
    getattr(parts.trainer, what)(parts.learner, ckpt_path=best, verbose=False, weights_only=True)
    assert parts.learner.report is not None
    return parts.learner.report


def _known_best(task: Task) -> dict[str, float] | None:
    """What the planted score of a synthetic data set reaches on the same test."""
    scorer = planted_scorer(task.dataset)
    return None if scorer is None else dict(evaluate(task.test, scorer, task.dataset).values)


class _Record:
    """metrics.json, kept true while the run goes on; only the first process writes."""

    def __init__(self, folder: Path, plain: dict[str, Any]) -> None:
        self.path = folder / "metrics.json"
        self.content: dict[str, Any] = {"status": "running"}
        names = {k: plain[k]["name"] for k in ("data", "protocol", "model", "loss", "optimizer")}
        self.content |= names | {"seed": plain["seed"], "batch_size": plain["batch_size"]}
        if is_first_process():
            folder.mkdir(parents=True, exist_ok=True)
            text = OmegaConf.to_yaml(OmegaConf.create(redacted(plain)))
            write_text(folder / "config.yaml", text)
            write_json(folder / "environment.json", environment.describe())
        self.update()

    def update(self, **more: Any) -> None:
        self.content |= more
        if is_first_process():
            write_json(self.path, self.content)

    def figures(self) -> dict[str, float]:
        return {f"test/{k}": v for k, v in self.content.get("test", {}).items()}
