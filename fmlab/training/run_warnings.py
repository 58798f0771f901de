"""Warnings about a finished run: training diverged, or the model is no better than a constant prediction."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fmlab.contracts import Report, Task
from fmlab.data import Array

log = logging.getLogger("fmlab")

FAR = 10.0
"""Training has diverged where the mean loss of an epoch is so many times that of the first batch, and 1 more."""

CHANCE = 1.645
"""Standard errors by which the mean of paired differences must be better than 0: 5 % one-sided."""


def is_far(loss: float, first: float) -> bool:
    """Whether a mean training loss says that training diverged; `first` is the loss before the first step."""
    return not loss <= FAR * abs(first) + 1


def findings(task: Task, test: Report, diverged: Mapping[str, float] | None) -> dict[str, Any]:
    """Log the warnings, and return the keys for `metrics.json`; `warnings` are sentences, absent if there are none.

    `diverged`: `epoch`, `loss` and `first_loss` where training did.
    """
    found: dict[str, Any] = {}
    warnings = []
    if diverged:
        found["diverged"] = dict(diverged)
        warnings.append(
            f"training diverged: its loss was {diverged['loss']:.4g} in epoch {diverged['epoch']:g}, "
            f"{diverged['first_loss']:.4g} at the start; try a smaller optimizer.lr, or trainer.gradient_clip_val"
        )
    constant = _constant(task)
    if constant:
        found["constant"] = dict(constant.values)
        if sentence := _compared(task, test, constant):
            warnings.append(sentence)
    for warning in warnings:
        log.warning(warning)
    return found | ({"warnings": warnings} if warnings else {})


def _constant(task: Task) -> Report | None:
    """Test metrics of the mean training label as every prediction, where labeled rows are trained on and judged."""
    of_constant = getattr(task.test, "of_constant", None)
    data, rows, label = task.dataset, task.training.rows, task.dataset.label
    if of_constant is None or task.training.negatives or label is None:
        return None
    weight = None if data.weight is None else np.asarray(data.weight, np.float64)[rows]

    def mean(label: Array) -> float:
        values, rate = np.asarray(label[rows], np.float64), task.training.negative_rate
        found = float(values.mean() if weight is None else np.average(values, weights=weight))
        return found if rate == 1 else found * rate / (found * rate + 1 - found)

    found: Report = of_constant({n: mean(t) for n, t in data.targets.items()} if data.targets else mean(label))
    return found if task.monitor in found.values else None


def _compared(task: Task, test: Report, constant: Report) -> str:
    """A sentence where the model is not better than the constant by the monitored metric; empty where it is."""
    name = task.monitor
    value, least = test.values.get(name, math.nan), constant.values[name]
    better = value > least if task.maximize else value < least
    if better and not _by_chance(test.units.get(name), constant.units.get(name), maximize=task.maximize):
        return ""
    how = "better than a constant by no more than chance" if better else "no better than a constant"
    return (
        f"{how}: {name} {value:.5g} on the test, {least:.5g} with the mean of the training labels as the prediction of "
        "every row"
    )


def _by_chance(model: Array | None, constant: Array | None, *, maximize: bool) -> bool:
    """Whether paired values of test rows do not differ significantly; False where a metric has no values of rows."""
    if model is None or constant is None or len(model) != len(constant) or len(model) < 2:
        return False
    gain = (model - constant) if maximize else (constant - model)
    error = float(gain.std(ddof=1)) / math.sqrt(len(gain))
    return not float(gain.mean()) > CHANCE * error
