"""Points that did well before, by the kind of task: what a search tries first. They are `conf/portfolio.json`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fmlab.config.composition import beside
from fmlab.contracts import Task
from fmlab.data.labels import is_binary
from fmlab.errors import StorageError
from fmlab.evaluation import ScoredRows
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


def entries(kind: Kind) -> list[Entry]:
    """The portfolio of a kind of task, in the order in which points are tried; raises StorageError."""
    path = beside("conf") / FILE
    try:
        return [Entry(dict(e["point"]), str(e["source"])) for e in read_json(path)[kind]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StorageError(f"{path} is malformed: {error}") from error
