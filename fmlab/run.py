"""One run: composed config -> built parts -> fit -> best checkpoint -> test once -> run folder."""

import inspect
import io
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
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

from fmlab import flops, loggers, statistics
from fmlab.checkpoints import Keeper, read_checkpoint, refuse_changes, refuse_mismatch
from fmlab.data import Dataset, Schema
from fmlab.distributed import ending_children, is_first_process, take_rank
from fmlab.dryrun import try_one_batch
from fmlab.errors import FmlabError, StorageError
from fmlab.evaluation import evaluate, planted_scorer
from fmlab.files import write_bytes
from fmlab.learner import Learner
from fmlab.loaders import TrainingLoader
from fmlab.overlap import said, unseen_of
from fmlab.pace import Pace
from fmlab.processes import this_launch
from fmlab.protocols import ChecksLabels, Observes, ReadsOptions, Report, Source, Task, WarmStarts
from fmlab.randomness import seed_generators
from fmlab.registry import build, load
from fmlab.run_folder import RunFolder, sweep_beside
from fmlab.run_record import RunRecord
from fmlab.stopping import Stopped
from fmlab.store import open_dataset
from fmlab.trainer import checkpoint_every, lasting_options, make_trainer, refuse_unfit

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
    Leaves in `folder`: config.yaml, environment.json, metrics.json, units.npz (per-case test values),
    checkpoints/best.ckpt and last.ckpt, metrics.csv. Raises FmlabError, also where another run holds the folder or
    has left its results there; KeyboardInterrupt leaves a run that `ckpt_path=` resumes.
    """
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    refuse_unfit(plain["trainer"])
    take_rank(this_launch(plain["trainer"]))
    place = RunFolder(folder)
    with place.held() if is_first_process() else nullcontext():
        resume = place.checkpoint_of(plain["ckpt_path"], plain["if_exists"])
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
                record.update(status=status, error=str(error))
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
    task = open_task(plain)
    data = task.dataset
    record.update(statistics=statistics.measured(data), published=statistics.published(data))
    new = unseen_of(data, task.training.rows, validation=task.validation, test=task.test)
    record.update(steps=[vars(s) for s in data.steps], fingerprint=data.fingerprint, unseen=new)
    for line in (*statistics.lines(data), *said(new)):
        log.info(line)
    trained = [load_model(Path(p)) for p in plain["warm_start"]]
    found = _options_from(plain["model"], trained)
    if found:
        record.update(model_options=found)
        log.info(f"{plain['model']['name']}: " + ", ".join(f"{k}={v}" for k, v in found.items()) + " by warm_start")
        plain, trained = {**plain, "model": {**plain["model"], **found}}, []
    parts = assemble(plain, task, place, used, callbacks, trained)
    del trained  # it may be large
    parameters = sum(p.numel() for p in parts.model.parameters() if p.requires_grad)
    record.update(parameters=parameters, flops=flops.of_row(parts.model, data).total)
    log.info(f"{plain['model']['name']}: {parameters:,} parameters, {len(task.training.rows):,} training rows")
    with ending_children(parts.trainer):
        best = _fit(parts, plain, resume, record) if parameters else _save_untrained(parts)
        began = time.perf_counter()
        validation = _judge(parts, best, "validate")
        test = _judge(parts, best, "test")
    record.update(seconds_test=round(time.perf_counter() - began, 3))
    value, planted = validation.values[task.monitor], planted_scorer(data)
    record.update(
        status="complete",
        monitor=task.monitor,
        maximize=task.maximize,
        validation=dict(validation.values),
        test=dict(test.values),
        known_best=None if planted is None else dict(evaluate(task.test, planted, data).values),
    )
    log.info("test  " + "  ".join(f"{k} {v:.4f}" for k, v in test.values.items()))
    if is_first_process():
        units = io.BytesIO()
        np.savez_compressed(units, allow_pickle=False, **test.units)
        write_bytes(place.units, units.getvalue())
    return value


def open_task(plain: Mapping[str, Any]) -> Task:
    """The prepared data set under the configured protocol."""
    root, cache = Path(plain["root"]), Path(plain["cache"])
    options = {k: v for k, v in plain["data"].items() if k != "name"}

    def dataset() -> Dataset:
        source = build("data", plain["data"], root, gives=Source)
        return open_dataset(source, name=plain["data"]["name"], options=options, root=root, cache=cache)

    data = _reuse("data", repr((plain["data"], root, cache)), dataset)
    key = repr((data.fingerprint, plain["protocol"]))
    return _reuse("task", key, lambda: build("protocol", plain["protocol"], data, gives=Task))


def _reuse(kind: str, key: str, make: Any) -> Any:
    if kind not in _open or _open[kind][0] != key:
        _open[kind] = (key, make())
    return _open[kind][1]


def build_model(options: Mapping[str, Any], schema: Schema, seed: int) -> nn.Module:
    """A model as its plugin makes it, initialised by `seed`."""
    torch.manual_seed(seed)
    return build("model", options, schema, gives=nn.Module)


def load_model(path: Path) -> nn.Module:
    """Rebuild a trained model from its checkpoint alone; raises StorageError or FmlabError."""
    return model_of(read_checkpoint(path), path)


def model_of(saved: Mapping[str, Any], path: Path) -> nn.Module:
    """The trained model in the containers that `read_checkpoint(path)` gave; raises FmlabError."""
    identity = saved["fmlab"]
    model = build_model(identity["model"], Schema.from_dict(identity["schema"]), 0)
    prefix = "model."
    state = {k.removeprefix(prefix): v for k, v in saved["state_dict"].items() if k.startswith(prefix)}
    for part in (*model.named_parameters(), *model.named_buffers()):
        if part[0] in state:  # as precise as it was trained
            part[1].data = part[1].data.to(state[part[0]].dtype)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise FmlabError(f"{path} holds another version of {identity['model']['name']}: {error}") from error
    return model.eval()


def assemble(
    plain: Mapping[str, Any],
    task: Task,
    place: RunFolder,
    used: list[Any],
    callbacks: Sequence[Callback],
    trained: Sequence[nn.Module],
) -> Parts:
    """Build and dry-run everything, so that a mistake shows before the first epoch. `trained`: what to start from."""
    data, seed = task.dataset, int(plain["seed"])
    seed_generators(seed)
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
    options, launch = plain["trainer"], this_launch(plain["trainer"])
    every, curves = checkpoint_every(options), plain["logger"]["name"] != "none"
    keeper = Keeper(place, f"val/{task.monitor}", task.maximize, every=every, curves=curves)
    trainer = make_trainer(options, task, place.path, used, keeper, callbacks, launch)
    learner.options = lasting_options(options, trainer, launch)
    return Parts(task, model, learner, trainer, keeper)


def _options_from(options: Mapping[str, Any], trained: Sequence[nn.Module]) -> dict[str, Any]:
    """Options of the model that its class reads from trained models."""
    plugin = load("model", options["name"])
    if not trained or not isinstance(plugin, ReadsOptions):
        return {}
    return dict(plugin.options_from(options, *trained))


def _prepare_model(model: nn.Module, plain: Mapping[str, Any], task: Task, trained: Sequence[nn.Module]) -> None:
    """What a model takes before training: the training positives, and the parameters of trained models."""
    data, rows, name = task.dataset, task.training.rows, plain["model"]["name"]
    if isinstance(model, Observes):
        if data.user is None or data.item is None:
            raise FmlabError(f"{name} reads user-item interactions; {data.name!r} has none")
        if data.label is not None and not task.training.negatives:
            rows = rows[np.asarray(data.label[rows]) > 0]
        user, item = (torch.from_numpy(np.asarray(a[rows], np.int64)) for a in (data.user, data.item))
        model.observe(user, item)
    if trained:
        if not isinstance(model, WarmStarts):
            raise FmlabError(f"warm_start needs a model that can start from trained ones, {name} cannot")
        try:
            model.warm_start(*trained)
        except (TypeError, AttributeError) as error:
            got = ", ".join(type(m).__name__ for m in trained)
            wanted = inspect.signature(model.warm_start)
            raise FmlabError(f"{name} starts from trained models {wanted}, got {got}: {error}") from error


def _fit(parts: Parts, plain: Mapping[str, Any], resume: Path | None, record: RunRecord) -> Path:
    trainer, keeper, learner = parts.trainer, parts.keeper, parts.learner
    if resume:
        sweep_beside(resume)
        saved = read_checkpoint(resume)
        refuse_mismatch(resume, saved["fmlab"], learner.identity)
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


def _judge(parts: Parts, best: Path, what: str) -> Report:
    getattr(parts.trainer, what)(parts.learner, ckpt_path=best, verbose=False, weights_only=True)
    assert parts.learner.report is not None
    return parts.learner.report
