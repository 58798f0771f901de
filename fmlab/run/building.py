"""All that a run trains with: model, loss, batches, learner and trainer, tried on one batch."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

from fmlab.config.unused import refuse_unused_sampler
from fmlab.contracts import OPERATIONS, CountsFitting, FitsRows, NeedsInteractions, Sampler, Task, ValidatesLabels
from fmlab.data import Dataset
from fmlab.errors import FmlabError
from fmlab.evaluation import flops
from fmlab.evaluation.latency import model_bytes
from fmlab.evaluation.output_transform import OutputTransform, output_transform_for, set_output_transform
from fmlab.evaluation.target_losses import loss_of_targets
from fmlab.files import size
from fmlab.nn.compressed import uncompressed
from fmlab.plugin.registry import build, check, schema
from fmlab.records.folder import RunFolder
from fmlab.run.calibration import check_calibration
from fmlab.run.loading import FULL, NONE, SEARCHED_PAIRS, build_model
from fmlab.run.model_size import n_parameters, n_trained
from fmlab.run.optimization import optimizers, scheduler
from fmlab.run.row_fitting import refuse_unfit
from fmlab.run.run_record_writer import RunRecord
from fmlab.run.structure import Structure, structure_lines
from fmlab.run.training_length import check_refit
from fmlab.run.warm_optimizer import going_on
from fmlab.run.warm_start import Trained, match_vocabularies, open_trained, options_from, start_from
from fmlab.terminal.redaction import redacted
from fmlab.training.best_checkpoint import BestCheckpoint
from fmlab.training.learner import Learner
from fmlab.training.loader import TrainingLoader
from fmlab.training.processes import this_launch
from fmlab.training.random_state import seed_generators
from fmlab.training.sanity_check import check_draws, try_evaluation, try_one_batch
from fmlab.training.trainer import checkpoint_every, lasting_options, make_trainer

log = logging.getLogger("fmlab")
_LONG = 5.0  # seconds of solving for a model, from which on they are said before


@dataclass(frozen=True)
class BuiltRun:
    """Everything built from one config."""

    task: Task
    model: nn.Module
    learner: Learner
    trainer: pl.Trainer
    checkpoints: BestCheckpoint
    seconds_prepared: float
    """What the model took before training: all that a model without steps needs."""


def build_run(
    config: dict[str, Any],
    task: Task,
    folder: RunFolder,
    record: RunRecord,
    run_loggers: list[Any],
    callbacks: Sequence[Callback],
    structure: Structure | None = None,
) -> tuple[dict[str, Any], BuiltRun]:
    """The parts of a run, and its config with the options that trained models of `warm_start` give.

    The record and the log say what was built. `structure`: what a search found.
    """
    trained = [open_trained(p) for p in config["warm_start"]]
    name = config["model"]["name"]
    found = options_from(config["model"], trained)
    if found:
        record.note(model_options=found)
        log.info(f"{name}: " + ", ".join(f"{k}={v}" for k, v in found.items()) + " by warm_start")
        config, trained = {**config, "model": {**config["model"], **found}}, []
    for one in trained:
        match_vocabularies(one, task.dataset, int(config["seed"]))
    check_refit(config, task)
    _tell_size(config, task.dataset, callbacks)
    built = assemble(config, task, folder, run_loggers, callbacks, trained, structure=structure)
    check_calibration(config, task, built.learner.loss)
    if trained:
        record.note(
            warm_start=[{"path": str(t.path), "fields": t.counts, "reinitialized": t.reinitialized} for t in trained]
        )
    parameters, rows = n_trained(built.model), len(task.training.rows)
    record.note(parameters=parameters, flops=flops.of_row(built.model, task.dataset).total, training_rows=rows)
    log.info(f"{name}: {parameters:,} parameters, {rows:,} training rows")
    if structure is not None:
        told = structure.described(built.model, task.dataset.schema, parameters)
        record.note(search=told)
        log.info("\n".join(structure_lines(told)))
    record.update()
    return config, built


def _tell_size(config: Mapping[str, Any], data: Dataset, callbacks: Sequence[Callback]) -> None:
    """Tell callbacks that have `on_size(parameters)` how large the model will be, before it is built."""
    asking = [callback.on_size for callback in callbacks if hasattr(callback, "on_size")]
    size = n_parameters(config["model"], data.schema, config.get("table")) if asking else None
    for on_size in asking:
        if size is not None:
            on_size(size)


def assemble(
    config: Mapping[str, Any],
    task: Task,
    folder: RunFolder,
    run_loggers: list[Any],
    callbacks: Sequence[Callback],
    trained: Sequence[Trained],
    scale: OutputTransform | None = None,
    structure: Structure | None = None,
) -> BuiltRun:
    """Build and dry-run everything, so that a mistake shows before the first epoch.

    `trained`: what to start from. `scale`: of the labels, None for that of the training rows. `structure`: what a
    search found, where the config has one.
    """
    data, seed = task.dataset, int(config["seed"])
    seed_generators(seed)
    pairs = structure is not None and structure.pairs is not None
    model = build_model(config["model"], data.schema, seed, config.get("table"), config.get("search"), pairs)
    if structure is not None:
        structure.impose(model)
    if (kept := uncompressed(model)) is not None:
        log.warning(
            f"table={config['table']['name']} stores the {kept:,} numbers of whole tables: no field gains by it"
        )
    loss = loss_of_targets(build("loss", config["loss"], gives=Callable), data) if "loss" in config else None
    refuse_unfit(model, task, config["model"]["name"], loss, config.get("loss", {}).get("name", ""))
    if isinstance(loss, ValidatesLabels) and not task.training.negatives and data.label is not None:
        for target in data.targets.values() or (data.label,):
            loss.check(np.asarray(target[task.training.rows]))
    scale = scale or output_transform_for(task, loss or _bound_loss(config))
    set_output_transform(model, scale)
    draws = task.training.negatives and "sampler" in config
    if "sampler" in config and not task.training.negatives:
        refuse_unused_sampler(config)
    sampler = partial(build, "sampler", config["sampler"], gives=Sampler) if draws else None
    loader = TrainingLoader(
        data, task.training, batch_size=int(config["batch_size"]), seed=seed, scale=scale, sampler=sampler
    )
    if sampler is not None:
        check_draws(loader, config["sampler"]["name"])
    began = time.perf_counter()
    _prepare_model(model, config, task, trained)
    seconds = time.perf_counter() - began
    identity = _identity(config, data, scale, sampled=sampler is not None)
    if pairs:
        identity[SEARCHED_PAIRS] = True
    try_one_batch(model, loss, loader, name=config["model"]["name"])
    try_evaluation(task, model, loader, name=config["protocol"]["name"])
    schedule, optimizer = None, None
    if "optimizer" in config:
        schedule, optimizer = scheduler(config, len(loader)), optimizers(config, model)
        if config["warm_start_optimizer"]:
            optimizer = going_on(optimizer, config, trained)
    elif any(p.requires_grad for p in model.parameters()):
        name = config["model"]["name"]
        raise FmlabError(f"model {name!r} has parameters to train, and its `defaults` say that it has no optimizer")
    learner = Learner(model, loss, optimizer, task, loader, identity, schedule)
    options, launch = config["trainer"], this_launch(config["trainer"])
    every, curves = checkpoint_every(options), config["logger"]["name"] != "none"
    checkpoints = BestCheckpoint(folder, f"val/{task.monitor}", task.maximize, every=every, curves=curves)
    trainer = make_trainer(options, task, folder.path, run_loggers, checkpoints, callbacks, launch)
    learner.options = lasting_options(options, trainer, launch)
    if getattr(schedule, "depends_on_end", False):
        learner.options["max_epochs"] = options["max_epochs"]
    return BuiltRun(task, model, learner, trainer, checkpoints, seconds)


def _identity(config: Mapping[str, Any], data: Dataset, scale: OutputTransform, *, sampled: bool) -> dict[str, Any]:
    """What rebuilds the model, and what a resumed run must share, in built-in containers."""
    parts = ("model", "loss", "optimizer", "scheduler", "protocol", *(("sampler",) if sampled else ()))
    identity = {
        "schema": data.schema.to_dict(),
        **{part: redacted(config[part]) for part in parts if part in config},
        "data": data.fingerprint,
        "seed": int(config["seed"]),
        "batch_size": int(config["batch_size"]),
    }
    for kind, usual in (("table", FULL), ("search", NONE)):
        if config.get(kind, {"name": usual})["name"] != usual:
            identity[kind] = redacted(config[kind])
    return identity if scale == OutputTransform() else identity | {"label_scale": scale.to_dict()}


def _bound_loss(config: Mapping[str, Any]) -> Any:
    """The loss that a protocol insists on, for the scale of labels under a model that has none; None if it does not."""
    name = schema("protocol", config["protocol"]["name"]).binding.get("loss")
    return None if name is None else build("loss", {"name": name})


def _prepare_model(model: nn.Module, config: Mapping[str, Any], task: Task, trained: Sequence[Trained]) -> None:
    """What a model takes before training: the parameters of trained models, and the training positives."""
    data, rows, name = task.dataset, task.training.rows, config["model"]["name"]
    if trained:
        start_from(model, config["model"], trained)
    if (
        data.weight is not None
        and not isinstance(model, FitsRows)
        and not any(p.requires_grad for p in model.parameters())
    ):
        log.warning("%s is not trained by steps: row weights count in its metrics alone", name)
    if isinstance(model, NeedsInteractions):
        if data.user is None or data.item is None:
            raise FmlabError(f"{name} reads user-item interactions; {data.name!r} has none")
        if data.label is not None and not task.training.negatives:
            rows = rows[np.asarray(data.label[rows]) > 0]
        user, item = (torch.from_numpy(np.asarray(a[rows], np.int64)) for a in (data.user, data.item))
        _tell_long_fitting(model, config["model"], data, len(rows))
        model.fit_interactions(user, item)


def _tell_long_fitting(model: nn.Module, options: Mapping[str, Any], data: Dataset, rows: int) -> None:
    """Say what a model holds and what it takes before it is solved for, where that is long."""
    if not isinstance(model, CountsFitting):
        return
    seconds = model.fit_operations(data.schema, rows, **check("model", options)) / OPERATIONS
    if seconds >= _LONG:
        held = size(model_bytes(model))
        log.info(
            f"{options['name']}: {held} in memory; solving for it takes about {seconds / 60:.1f} minutes of a core"
        )
