"""Points that did well before, by the kind of task: what a search tries first. They are `conf/portfolio.json`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fmlab.config.sources import beside
from fmlab.contracts import Task
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
