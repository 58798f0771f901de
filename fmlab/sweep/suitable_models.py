"""Which models suit a task: each is tried on one batch, with the loss and the optimizer that it is trained by."""

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from fmlab.config.plugin_defaults import groups_without
from fmlab.contracts import NeedsInteractions, Task
from fmlab.data.labels import is_binary
from fmlab.errors import DataError, FmlabError
from fmlab.inspection.model_table import DISTRIBUTION
from fmlab.plugin import registry
from fmlab.run.loading import build_model
from fmlab.run.row_fitting import refuse_unfit
from fmlab.training.loader import TrainingLoader
from fmlab.training.sanity_check import try_one_batch

_FREE = ("bce", "bpr", "squared")  # losses that any model can be trained with
RANKING = ("bce", "bpr")
DENSE = ("adam", "adagrad")


class Fit(NamedTuple):
    """Loss and optimizer of a model, empty for none, and whether gradients train it."""

    loss: str
    optimizer: str
    trains: bool


def is_own(model: str) -> bool:
    """Whether a model comes with fmlab; others were installed on purpose, and are tried before these."""
    return registry.package(registry.find("model", model)) == DISTRIBUTION


def suitable(
    task: Task, config: Mapping[str, Any], some: Collection[str] | None = None, excluded: Collection[str] = ()
) -> tuple[dict[str, Fit], dict[str, str]]:
    """Each model that survives one batch, with what it is trained by; of each other one why it takes no part.

    `some`: models of fmlab that are looked at, None for all; those of other packages are always, but for `excluded`.
    """
    fits, why = {}, {}
    usual = str(registry.schema("protocol", config["protocol"]["name"]).defaults.get("loss", config["loss"]["name"]))
    if usual == "bpr" and not task.training.negatives and task.dataset.label is not None:
        usual = "bce" if is_binary(np.asarray(task.dataset.label[task.training.rows])) else "squared"
    for name in registry.names("model"):
        try:
            if name in excluded:
                raise FmlabError("exclude_models leaves it out")
            if some is not None and name not in some and is_own(name):
                continue
            wants = registry.schema("model", name).defaults
            loss = str(wants.get("loss", usual))
            kept = RANKING if task.training.negatives else ()
            loss = usual if loss in _FREE and loss not in kept else loss
            none, loss = groups_without("model", wants), "" if "loss" in groups_without("model", wants) else loss
            trains = _try(name, loss, task)
            # What an optimizer does not train has none of its options to search.
            optimizer = str(wants.get("optimizer") or ("adam" if trains else "sgd"))
            fits[name] = Fit(loss, "" if "optimizer" in none else optimizer, trains)
        except (FmlabError, OSError, MemoryError) as error:
            why[name] = " ".join(str(error).split())
    if not fits:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in [*why.items()][:3])
        raise FmlabError(f"no installed model can be trained on this data under this protocol: {reasons}")
    return fits, why


def _try(name: str, loss: str, task: Task) -> bool:
    data = task.dataset
    model = build_model({"name": name}, data.schema, 0)
    criterion = registry.build("loss", {"name": loss}) if loss else None
    refuse_unfit(model, task, name, criterion, loss)
    if isinstance(model, NeedsInteractions):
        if data.user is None or data.item is None:
            raise DataError("it reads user-item interactions")
        if is_own(name):  # its tests say that it works; to fit it may take as long as a trial
            return any(p.requires_grad for p in model.parameters())
        pairs = [torch.from_numpy(np.asarray(a[task.training.rows], np.int64)) for a in (data.user, data.item)]
        model.fit_interactions(*pairs)
    loader = TrainingLoader(data, task.training, batch_size=64, seed=0)
    try_one_batch(model, criterion, loader, name=name)
    return any(p.requires_grad for p in model.parameters())


def partners(fits: Mapping[str, Fit], task: Task) -> dict[str, list[dict[str, Any]]]:
    """Losses and optimizers: a model's own where they are special, else those of the task."""
    losses: dict[str, list[str]] = {}
    optimizers: dict[str, list[str]] = {}
    for model, (loss, optimizer, trained) in fits.items():
        free = trained and task.training.negatives and loss in _FREE
        if loss:
            losses.setdefault(json.dumps({"choice": list(RANKING)} if free else {"const": loss}), []).append(model)
        if not optimizer:
            continue
        dense = trained and optimizer in DENSE
        spec = {"choice": list(DENSE)} if dense else {"const": optimizer}
        optimizers.setdefault(json.dumps(spec), []).append(model)
    return {
        key: [{**json.loads(spec), "when": {"model": models}} for spec, models in groups.items()]
        for key, groups in (("loss", losses), ("optimizer", optimizers))
    }
