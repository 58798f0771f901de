"""All parts of a run: model, loss, batches, learner and trainer, tried on one batch."""

import logging
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
from fmlab.contracts import FitsRows, NeedsInteractions, Sampler, Task, ValidatesLabels
from fmlab.data import Dataset
from fmlab.errors import FmlabError
from fmlab.evaluation.label_scale import LabelScale, scale_for, set_label_scale
from fmlab.evaluation.target_losses import loss_of_targets
from fmlab.plugin.registry import build, schema
from fmlab.records.folder import RunFolder
from fmlab.run.loading import FULL, build_model
from fmlab.run.optimization import optimizers, scheduler
from fmlab.run.row_fitting import refuse_unlabelled
from fmlab.run.warm_optimizer import going_on
from fmlab.run.warm_start import Trained, start_from
from fmlab.terminal.redaction import redacted
from fmlab.training.best_checkpoint import BestCheckpoint
from fmlab.training.learner import Learner
from fmlab.training.loader import TrainingLoader
from fmlab.training.processes import this_launch
from fmlab.training.random_state import seed_generators
from fmlab.training.sanity_check import check_draws, try_evaluation, try_one_batch
from fmlab.training.trainer import checkpoint_every, lasting_options, make_trainer

log = logging.getLogger("fmlab")


@dataclass(frozen=True)
class Parts:
    """Everything built from one config."""

    task: Task
    model: nn.Module
    learner: Learner
    trainer: pl.Trainer
    keeper: BestCheckpoint


def assemble(
    plain: Mapping[str, Any],
    task: Task,
    place: RunFolder,
    used: list[Any],
    callbacks: Sequence[Callback],
    trained: Sequence[Trained],
    scale: LabelScale | None = None,
) -> Parts:
    """Build and dry-run everything, so that a mistake shows before the first epoch.

    `trained`: what to start from. `scale`: of the labels, None for that of the training rows.
    """
    data, seed = task.dataset, int(plain["seed"])
    seed_generators(seed)
    model = build_model(plain["model"], data.schema, seed, plain.get("table"))
    refuse_unlabelled(model, task, plain["model"]["name"])
    loss = loss_of_targets(build("loss", plain["loss"], gives=Callable), data) if "loss" in plain else None
    if isinstance(loss, ValidatesLabels) and not task.training.negatives and data.label is not None:
        for target in data.targets.values() or (data.label,):
            loss.check(np.asarray(target[task.training.rows]))
    scale = scale or scale_for(task, loss or _bound_loss(plain))
    set_label_scale(model, scale)
    draws = task.training.negatives and "sampler" in plain
    if "sampler" in plain and not task.training.negatives:
        refuse_unused_sampler(plain)
    sampler = partial(build, "sampler", plain["sampler"], gives=Sampler) if draws else None
    loader = TrainingLoader(
        data, task.training, batch_size=int(plain["batch_size"]), seed=seed, scale=scale, sampler=sampler
    )
    if sampler is not None:
        check_draws(loader, plain["sampler"]["name"])
    _prepare_model(model, plain, task, trained)
    identity = _identity(plain, data, scale, sampled=sampler is not None)
    try_one_batch(model, loss, loader, name=plain["model"]["name"])
    try_evaluation(task, model, loader, name=plain["protocol"]["name"])
    schedule, optimizer = None, None
    if "optimizer" in plain:
        schedule, optimizer = scheduler(plain, len(loader)), optimizers(plain, model)
        if plain["warm_start_optimizer"]:
            optimizer = going_on(optimizer, plain, trained)
    elif any(p.requires_grad for p in model.parameters()):
        name = plain["model"]["name"]
        raise FmlabError(f"model {name!r} has parameters to train, and its `defaults` say that it has no optimizer")
    learner = Learner(model, loss, optimizer, task, loader, identity, schedule)
    options, launch = plain["trainer"], this_launch(plain["trainer"])
    every, curves = checkpoint_every(options), plain["logger"]["name"] != "none"
    keeper = BestCheckpoint(place, f"val/{task.monitor}", task.maximize, every=every, curves=curves)
    trainer = make_trainer(options, task, place.path, used, keeper, callbacks, launch)
    learner.options = lasting_options(options, trainer, launch)
    if getattr(schedule, "depends_on_end", False):
        learner.options["max_epochs"] = options["max_epochs"]
    return Parts(task, model, learner, trainer, keeper)


def _identity(plain: Mapping[str, Any], data: Dataset, scale: LabelScale, *, sampled: bool) -> dict[str, Any]:
    """What rebuilds the model, and what a resumed run must share, in plain containers."""
    parts = ("model", "loss", "optimizer", "scheduler", "protocol", *(("sampler",) if sampled else ()))
    identity = {
        "schema": data.schema.to_dict(),
        **{part: redacted(plain[part]) for part in parts if part in plain},
        "data": data.fingerprint,
        "seed": int(plain["seed"]),
        "batch_size": int(plain["batch_size"]),
    }
    if plain.get("table", {"name": FULL})["name"] != FULL:
        identity["table"] = redacted(plain["table"])
    return identity if scale == LabelScale() else identity | {"label_scale": scale.to_dict()}


def _bound_loss(plain: Mapping[str, Any]) -> Any:
    """The loss that a protocol insists on, for the scale of labels under a model that has none; None if it does not."""
    name = schema("protocol", plain["protocol"]["name"]).binding.get("loss")
    return None if name is None else build("loss", {"name": name})


def _prepare_model(model: nn.Module, plain: Mapping[str, Any], task: Task, trained: Sequence[Trained]) -> None:
    """What a model takes before training: the parameters of trained models, and the training positives."""
    data, rows, name = task.dataset, task.training.rows, plain["model"]["name"]
    if trained:
        start_from(model, plain["model"], trained)
    if (
        data.weight is not None
        and not isinstance(model, FitsRows)
        and not any(p.requires_grad for p in model.parameters())
    ):
        log.warning("%s is not trained by steps: row weights count in its figures alone", name)
    if isinstance(model, NeedsInteractions):
        if data.user is None or data.item is None:
            raise FmlabError(f"{name} reads user-item interactions; {data.name!r} has none")
        if data.label is not None and not task.training.negatives:
            rows = rows[np.asarray(data.label[rows]) > 0]
        user, item = (torch.from_numpy(np.asarray(a[rows], np.int64)) for a in (data.user, data.item))
        model.fit_interactions(user, item)
