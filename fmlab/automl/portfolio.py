"""Points that did well before, by the kind of task: what a search tries first. They are `conf/portfolio.json`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fmlab.config.sources import beside
from fmlab.contracts import OPERATIONS, CountsFitting, SuitsOptions, Task
from fmlab.data.labels import is_binary
from fmlab.errors import FmlabError, StorageError, choices
from fmlab.evaluation import ScoredRows
from fmlab.plugin import registry
from fmlab.untrusted.parsing import read_json

KINDS = ("classes", "ratings", "ranking")
Kind = Literal["classes", "ratings", "ranking"]
FILE = "portfolio.json"


@dataclass(frozen=True)
class Entry:
    """Overrides by key, the model among them, and where they come from."""

    point: Mapping[str, Any]
    source: str


def kind_of(task: Task) -> Kind:
    """Whether a task scores rows of two classes or of other labels, or ranks items."""
    if task.training.negatives or not isinstance(task.validation, ScoredRows) or task.dataset.label is None:
        return "ranking"
    return "classes" if is_binary(np.asarray(task.dataset.label)[task.training.rows]) else "ratings"


def excluded_models(names: Sequence[object]) -> frozenset[str]:
    """The models that a search leaves out; raises FmlabError for a name of none."""
    for name in names:
        if not registry.is_claimed("model", str(name)):
            known = choices(str(name), registry.names("model"))
            raise FmlabError(f"exclude_models must hold names of models, got {name!r}; {known}")
    return frozenset(map(str, names))


def entries(kind: Kind, excluded: Collection[str] = ()) -> list[Entry]:
    """The portfolio of a kind of task, in the order in which points are tried, without some models.

    Raises StorageError.
    """
    path = beside("conf") / FILE
    try:
        found = [Entry(dict(e["point"]), str(e["source"])) for e in read_json(path)[kind]]
        return [e for e in found if e.point["model"] not in excluded]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StorageError(f"{path} is malformed: {error}") from error


def suited(point: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """A point with the options that suit data of this size (`SuitsOptions`), where it names no others."""
    name = str(point["model"])
    plugin = registry.load("model", name)
    if not isinstance(plugin, SuitsOptions):
        return dict(point)
    found = plugin.suited_options(task.dataset.schema, len(task.training.rows), **_options(point))
    return {**{f"model.{key}": value for key, value in found.items()}, **point}


def long_last(points: Sequence[dict[str, Any]], task: Task, seconds: float) -> list[dict[str, Any]]:
    """Points whose model is solved for longer than `seconds`, which nothing can cut, behind the others.

    There they take no time from points that end (`CountsFitting`).
    """
    return sorted(points, key=lambda point: _operations(point, task) > OPERATIONS * seconds)


def _operations(point: Mapping[str, Any], task: Task) -> float:
    plugin = registry.load("model", str(point["model"]))
    if not isinstance(plugin, CountsFitting):
        return 0.0
    return plugin.fit_operations(task.dataset.schema, len(task.training.rows), **_options(point))


def _options(point: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a point's model, defaults among them."""
    options = {o.name: o.default for o in registry.schema("model", str(point["model"])).options}
    return options | {k.removeprefix("model."): v for k, v in point.items() if k.startswith("model.")}
