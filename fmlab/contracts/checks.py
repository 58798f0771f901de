"""What plugins must give, checked when it is given: a breach names the plugin and the rule before anything is trained.

The contract tests of `fmlab.testing` look closer; what is here costs next to nothing.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from fmlab.contracts import ListMetric, RankMetric, ScoreMetric, Task, Training
from fmlab.contracts.metric import value_on_rows
from fmlab.data import Dataset
from fmlab.data.source_checks import kind_of, named_plugin
from fmlab.errors import FmlabError, choices

_EVALUATION = {"start": 2, "block": 4, "finish": 2}  # methods, and how many arguments each is called with
_RANKS = np.array([1.0, 2.5, 40.0])
_GROUPS = np.array([0, 0, 1, 1])
_SCORES = np.array([-0.5, 0.7, 0.1, 0.9]), np.array([0, 1, 0, 1], np.float32)


def checked_task(task: Task, name: str) -> Task:
    """The same, if a run can be made of it; raises FmlabError."""
    who = named_plugin("protocol", name)
    kinds = {"dataset": Dataset, "training": Training, "monitor": str, "maximize": (bool, np.bool_)}
    for part, kind in kinds.items():
        if not isinstance(got := getattr(task, part), kind):  # type: ignore[arg-type]
            wanted = {"monitor": "text", "maximize": "true or false"}.get(part, f"a fmlab {part.title()}")
            raise FmlabError(f"{who}: {part} of its task must be {wanted}, got {_shown(got)}")
    _check_training(task, who)
    for part in ("validation", "test"):
        evaluation = getattr(task, part)
        _check_evaluation(evaluation, f"{who}: {part} of its task")
        known = getattr(evaluation, "metrics", None)
        if isinstance(known, Mapping) and task.monitor not in known:
            raise FmlabError(
                f"{who}: monitor of its task must be a metric of the {part}, got {task.monitor!r}; "
                f"{choices(task.monitor, map(str, known))}"
            )
    return task


def _check_training(task: Task, who: str) -> None:
    rows, negatives, n = task.training.rows, task.training.negatives, task.dataset.rows
    if not isinstance(rows, np.ndarray) or rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
        got = f"{rows.dtype}{list(rows.shape)}" if isinstance(rows, np.ndarray) else kind_of(rows)
        raise FmlabError(f"{who}: rows of its training must be a NumPy array int64[rows], got {got}")
    if not len(rows):
        raise FmlabError(f"{who}: its training must have rows, got none")
    if rows.min() < 0 or rows.max() >= n:
        raise FmlabError(f"{who}: rows of its training must be in [0, {n}), got {rows.min()} to {rows.max()}")
    seen = np.zeros(n, bool)
    seen[rows] = True
    if np.count_nonzero(seen) < len(rows):
        raise FmlabError(f"{who}: rows of its training must stand once, some are there twice")
    if not isinstance(negatives, int | np.integer) or isinstance(negatives, bool) or negatives < 0:
        raise FmlabError(f"{who}: negatives of its training must be a whole number from 0 on, got {negatives!r}")


def _check_evaluation(evaluation: Any, who: str) -> None:
    rule = "must have __len__, start(scorer, tables), block(index, scorer, tables, state), finish(unit, columns)"
    if not hasattr(evaluation, "__len__"):
        raise FmlabError(f"{who} {rule}; {kind_of(evaluation)} has no __len__")
    for method, count in _EVALUATION.items():
        function = getattr(evaluation, method, None)
        if not callable(function):
            raise FmlabError(f"{who} {rule}; {kind_of(evaluation)} has no {method}")
        if not _takes(function, count):
            raise FmlabError(f"{who} {rule}; {method} of {kind_of(evaluation)} takes {inspect.signature(function)}")
    if not len(evaluation):
        raise FmlabError(f"{who} must have blocks to score, got none")


def _takes(function: Any, count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # no signature to be seen
        return True
    return True


def check_report(values: Any, monitor: str, who: str) -> None:
    """Whether a report has the monitored metric, and a number for each; raises FmlabError naming `who`."""
    if not isinstance(values, Mapping) or not all(isinstance(v, int | float | np.number) for v in values.values()):
        raise FmlabError(f"{who}: finish must give a Report whose values are a number by name, got {_shown(values)}")
    if monitor not in values:
        known = choices(monitor, map(str, values))
        raise FmlabError(f"{who}: monitor of its task must be a metric of the validation, got {monitor!r}; {known}")


def checked_metric(metric: Any, name: str) -> ListMetric | RankMetric | ScoreMetric:
    """The same, if it gives what metrics must give on three ranks or four rows; raises FmlabError."""
    who = named_plugin("metric", name)
    if not isinstance(metric.name, str) or not isinstance(metric.maximize, bool | np.bool_):
        got = f"{metric.name!r} and {metric.maximize!r}"
        raise FmlabError(f"{who}: its name must be text and maximize true or false, got {got}")
    if isinstance(metric, ListMetric):
        return metric  # what it gives is checked where lists are judged: here there is no view that it may ask for
    try:
        found: Any
        if isinstance(metric, RankMetric):
            found = metric.of_ranks(_RANKS.copy())
        else:
            score, label = (part.copy() for part in _SCORES)
            found = value_on_rows(metric, score, label, group=_GROUPS.copy())
    except FmlabError:
        return metric  # it has reasons that this sample does not meet
    except Exception as error:
        what = "of_ranks(rank)" if isinstance(metric, RankMetric) else "of_scores(score, label)"
        raise FmlabError(f"{who}: {what} fails: {type(error).__name__}: {error}".split("\n")[0]) from error
    if isinstance(metric, RankMetric):
        if not _is_numbers(found, _RANKS.shape):
            raise FmlabError(
                f"{who}: of_ranks must give one number a list, an array [{len(_RANKS)}], got {_shown(found)}"
            )
        return metric
    if not isinstance(found, tuple) or len(found) != 2 or not _is_numbers(found[0], ()):
        raise FmlabError(f"{who}: of_scores must give (a number, numbers of the rows or None), got {_shown(found)}")
    if found[1] is not None and not _is_numbers(found[1], _SCORES[0].shape):
        shape = f"an array [{len(_SCORES[0])}]"
        raise FmlabError(f"{who}: of_scores must give one number a row, {shape}, or None, got {_shown(found[1])}")
    return metric


def _is_numbers(value: Any, shape: tuple[int, ...]) -> bool:
    if not isinstance(value, int | float | np.ndarray | np.number) or isinstance(value, bool):
        return False
    array = np.asarray(value)
    return array.shape == shape and array.dtype.kind in "fiu"


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {list(value.shape)} of {value.dtype}"
    text = repr(value)
    return f"{kind_of(value)} {text if len(text) < 60 else f'{text[:57]}...'}"
