"""Training of models that train themselves on labeled rows (`fmlab.contracts.FitsRows`)."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from fmlab.contracts import FitsRows, Fitting, LabelledRows, Task
from fmlab.data import Array, Dataset
from fmlab.data.batch import as_features
from fmlab.errors import DataError
from fmlab.evaluation import ScoredRows
from fmlab.evaluation.output_transform import OutputTransform


def refuse_unfit(model: object, task: Task, name: str, loss: Any, loss_name: str) -> None:
    """Raise DataError where a model that trains itself on labeled rows would get none, or no loss of such rows."""
    if not isinstance(model, FitsRows):
        return
    if task.dataset.targets:
        raise DataError(
            f"{name} gives one score, {task.dataset.name!r} has the targets {', '.join(task.dataset.targets)}; choose "
            "one by data.label=COLUMN, or a model of several targets"
        )
    scored = isinstance(task.validation, ScoredRows)
    if task.training.negatives or task.dataset.label is None or not scored:
        got = "negatives that are drawn in every epoch" if task.training.negatives else "a protocol that ranks items"
        raise DataError(
            f"{name} trains itself on labeled rows, and needs a protocol that scores such rows, got {got}; "
            "choices: protocol=ctr, protocol=rating"
        )
    if loss is not None and not getattr(loss, "log_odds", False) and not getattr(loss, "on_label_scale", False):
        raise DataError(
            f"{name} trains itself on labeled rows, by log loss or squared errors, got loss={loss_name}; "
            "choices: loss=bce, loss=squared"
        )


def fit_rows(
    model: FitsRows,
    task: Task,
    loss: Any,
    scale: OutputTransform,
    seed: int,
    goes_on: Callable[[int], bool],
    rounds: int | None = None,
) -> dict[str, float]:
    """Train a model on the training rows; what the run record says of it.

    Early stopping looks at validation rows, unless `rounds` says how many rounds are trained.
    """
    began, rows = time.perf_counter(), task.training.rows
    assert isinstance(task.validation, ScoredRows)
    stop_rows = task.validation.rows if rounds is None else rows[:0]
    parts = [_labelled(task.dataset, part, scale) for part in (rows, stop_rows)]
    fitting = Fitting(bool(getattr(loss, "log_odds", False)), seed, rounds, goes_on)
    rounds = model.fit_rows(parts[0], parts[1], fitting)
    seconds = time.perf_counter() - began
    return {
        "epochs": rounds,
        "best_epoch": rounds - 1,
        "seconds_fit": round(seconds, 3),
        "rows_per_second": round(rounds * len(rows) / seconds),
    }


def rounds_go_on(callbacks: Sequence[object]) -> Callable[[int], bool]:
    """One answer of all callbacks that have `on_round(round) -> bool`; each of them is asked after each round."""
    found = [callback.on_round for callback in callbacks if hasattr(callback, "on_round")]
    return lambda number: all([on_round(number) for on_round in found])


def _labelled(data: Dataset, rows: Array, scale: OutputTransform) -> LabelledRows:
    label = scale.standardized(np.asarray(data.label)[rows])
    weight = None if data.weight is None else torch.from_numpy(np.array(data.weight[rows], np.float32))
    return LabelledRows(as_features(data.row_ids(rows)), torch.from_numpy(label), weight)
