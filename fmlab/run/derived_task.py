"""The task of a run with the fields that the options `crosses` and `target_statistics` add to its rows."""

from collections.abc import Mapping
from copy import copy
from typing import Any

from fmlab.contracts import Evaluator, Task
from fmlab.data import Dataset
from fmlab.data.derived_fields import DerivedFields
from fmlab.data.derived_fitting import choose, fit
from fmlab.data.derived_groups import Groups
from fmlab.errors import DataError, FmlabError
from fmlab.evaluation import ScoredRows
from fmlab.run.task_opening import reuse, task_key

OPTIONS = ("crosses", "target_statistics", "target_statistics_as")


def wanted(config: Mapping[str, Any]) -> bool:
    """Whether a run adds fields."""
    return bool(config.get("crosses") or config.get("target_statistics"))


def with_derived_fields(config: Mapping[str, Any], task: Task) -> tuple[Task, DerivedFields | None]:
    """The task on the wider rows, and what was fitted; the task itself where nothing is wanted.

    Raises DataError where rows are not labeled, FmlabError where the run starts from trained models.
    """
    if not wanted(config):
        return task, None
    judged = task.validation
    if task.training.negatives or not isinstance(judged, ScoredRows) or not isinstance(task.test, ScoredRows):
        raise DataError(
            "crosses and target_statistics need a protocol that scores labeled rows, "
            f"got protocol={config['protocol']['name']}; choices: protocol=ctr, protocol=rating"
        )
    if config["warm_start"]:
        raise FmlabError("warm_start takes the fields of a trained model, which crosses and target_statistics change")
    given = [config.get(name) for name in OPTIONS]
    rows = (task_key(config, task.dataset), len(task.training.rows))
    groups = None
    if "auto" in given[:2]:  # the same for categories and for numbers
        groups = reuse("groups", repr(rows), lambda: choose(task.dataset, task.training.rows, judged.rows))
    return reuse("derived", repr((rows, given)), lambda: _made(task, groups, *given))


def _made(task: Task, groups: Groups | None, crosses: Any, statistics: Any, form: Any) -> tuple[Task, Any]:
    found = fit(task.dataset, task.training.rows, crosses or (), statistics or (), form or "bins", groups)
    if not found.crosses and not found.statistics:
        return task, None
    data = found.dataset(task.dataset, task.training.rows)
    validation, test = (_on(part, data) for part in (task.validation, task.test))
    return task.changed(dataset=data, validation=validation, test=test), found


def _on(evaluator: Evaluator, data: Dataset) -> Evaluator:
    """The same evaluator of the same rows, which are wider."""
    made = copy(evaluator)
    assert isinstance(made, ScoredRows)
    made.dataset = data
    return made
