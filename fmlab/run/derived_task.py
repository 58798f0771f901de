"""The task of a run with the fields that `crosses` and `target_statistics` add, without its `ignored_fields`."""

from collections.abc import Mapping
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

from fmlab.contracts import Evaluator, Task
from fmlab.data import Dataset, Schema
from fmlab.data.derived_fields import DerivedFields, Form
from fmlab.data.derived_fitting import fit
from fmlab.data.derived_groups import Groups, Sample
from fmlab.data.store.kept_groups import kept_choice
from fmlab.errors import DataError, FmlabError
from fmlab.evaluation import ScoredRows
from fmlab.run.task_opening import reuse, task_key

FEW = 1_000_000  # rows of a data set of which categories and numbers are kept beside each other
CHOSEN = ("crosses", "target_statistics", "ignored_fields")  # fields or groups of them, which `auto` chooses
OPTIONS = (*CHOSEN, "target_statistics_as")
NO_FIELDS = {name: list[str]() for name in CHOSEN}


def wanted(config: Mapping[str, Any]) -> bool:
    """Whether a run adds or ignores fields."""
    return any(config.get(name) for name in CHOSEN)


def with_derived_fields(config: Mapping[str, Any], task: Task) -> tuple[Task, DerivedFields | None]:
    """The task on the wider rows, and what was fitted; the task itself where nothing is wanted.

    Raises DataError where rows are not labeled, FmlabError where the run starts from trained models.
    """
    if not wanted(config):
        return task, None
    judged = task.validation
    if task.training.negatives or not isinstance(judged, ScoredRows) or not isinstance(task.test, ScoredRows):
        raise DataError(
            "crosses, target_statistics and ignored_fields need a protocol that scores labeled rows, "
            f"got protocol={config['protocol']['name']}; choices: protocol=ctr, protocol=rating"
        )
    if config["warm_start"]:
        raise FmlabError(f"warm_start takes the fields of a trained model, which {', '.join(CHOSEN)} change")
    form = config.get("target_statistics_as")
    kept = f"derived, {form}" if task.dataset.rows <= FEW else "derived"  # trees and others take turns in a search
    return reuse(kept, _key(config, task), lambda: _made(config, task, judged))


def schema_of(config: Mapping[str, Any], task: Task) -> Schema:
    """The fields of a row of a run, those that are added among them; fields are fitted, and no row is widened."""
    judged = task.validation
    if not wanted(config) or not isinstance(judged, ScoredRows):
        return task.dataset.schema
    kept = f"schema, {config.get('target_statistics_as')}"
    return reuse(kept, _key(config, task), lambda: _fitted(config, task, judged).schema)


def _key(config: Mapping[str, Any], task: Task) -> str:
    return repr((_rows(config, task), [config.get(name) for name in OPTIONS]))


def _rows(config: Mapping[str, Any], task: Task) -> tuple[Any, ...]:
    return task_key(config, task.dataset), len(task.training.rows)


def _groups(config: Mapping[str, Any], task: Task, judged: ScoredRows) -> Groups | None:
    """The groups that `auto` stands for, the same for categories and for numbers; None where nothing is `auto`."""
    if "auto" not in (config.get("crosses"), config.get("target_statistics")):
        return None
    sample = partial(Sample.of, task.dataset, task.training.rows, judged.rows)
    return reuse("groups", repr(_rows(config, task)), lambda: _chosen(sample(), Path(config["cache_dir"])))


def _chosen(sample: Sample, cache: Path) -> Groups:
    chosen = kept_choice(sample, cache)
    chosen.warn()
    return chosen.groups


def _fitted(config: Mapping[str, Any], task: Task, judged: ScoredRows) -> DerivedFields:
    crosses, statistics, ignored = (config.get(name) or () for name in CHOSEN)
    form: Form = config.get("target_statistics_as") or "bins"
    rows, groups = task.training.rows, _groups(config, task, judged)
    return fit(task.dataset, rows, crosses, statistics, form, groups, ignored)


def _made(config: Mapping[str, Any], task: Task, judged: ScoredRows) -> tuple[Task, DerivedFields | None]:
    found = _fitted(config, task, judged)
    if not found.adds and not found.ignored:
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
