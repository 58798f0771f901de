"""What a score means on a split: which judged rows stand in training already, and the figures on those that do not.

On Frappe's published split a table of training labels, looked up, is ahead of most models: 36.7 % of the test rows have
their pair of user and item in training, always with the label of the test. What a model has learned shows on the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fmlab.contracts import BlockResult, Evaluator, Report, Task
from fmlab.data import Array, Dataset
from fmlab.data.batch import Tables
from fmlab.data.leakage import repeated, siblings
from fmlab.errors import DataError
from fmlab.evaluation.ranked_lists import RankedLists

HEAD = 0.8
"""The head: the fewest items that have this share of the training rows."""


@dataclass(frozen=True)
class Audit:
    """Of one judged part. `shares`: by name, of its rows. `groups`: bool[judged rows] by name, of `rows`."""

    rows: Array
    shares: Mapping[str, float] = field(default_factory=dict)
    groups: Mapping[str, Array] = field(default_factory=dict)

    def lines(self, part: str) -> list[str]:
        """What a log says of it."""
        shown = {
            "pair in training": "their user and item in a training row",
            "answered": "the one training label of their user and item",
            "row in training": "all their values in a training row",
            "sibling in training": "their user and whole context in a training row",
        }
        found = [f"{self.shares[name]:.1%} {text}" for name, text in shown.items() if self.shares.get(name)]
        return [f"  of {len(self.rows):,} rows of {part} have: " + ", ".join(found)] if found else []


def audit(dataset: Dataset, trained: Array, judged: Array) -> Audit:
    """What of the judged rows stands in training, and which of them are cold, head and tail.

    Siblings are rows of one user and context, as the positive of a log and the negatives drawn for it: their labels
    exclude each other, so that a model can infer a row's label from its siblings' without knowing its item.

    A row is answered if training rows have its pair of user and item, all with one label, and this is the row's own.
    Where rows are positives alone, pairs stand in one part, and nothing is answered.
    """
    shares: dict[str, float] = {}
    groups: dict[str, Array] = {}
    user, item = dataset.user, dataset.item
    if dataset.label is not None or dataset.context is not None:
        again = repeated(dataset, trained, judged)
        shares["row in training"] = float(again.mean())
        groups["new rows"] = ~again
    if dataset.context is not None and item is not None:
        known = siblings(dataset, trained, judged)
        shares["sibling in training"] = float(known.mean())
        groups["no siblings"] = ~known
    if user is not None and item is not None:
        known, answered = _pairs(dataset, trained, judged)
        shares |= {"pair in training": float(known.mean()), "answered": float(answered.mean())}
        groups |= {"new pairs": ~known, "not answered": ~answered}
        for side, index, n in (("user", user, dataset.schema.n_users), ("item", item, dataset.schema.n_items)):
            count = np.bincount(np.asarray(index[trained]), minlength=n)
            of_row = np.asarray(index[judged])
            groups[f"cold {side}s"] = count[of_row] == 0
            shares[f"cold {side}"] = float((count[of_row] == 0).mean())
            if side == "item":
                head = np.zeros(n, bool)
                order = np.argsort(-count, kind="stable")
                head[order[np.cumsum(count[order]) - count[order] < HEAD * count.sum()]] = True
                groups |= {"head items": head[of_row], "tail items": ~head[of_row]}
                shares["tail item"] = float((~head[of_row]).mean())
    return Audit(judged, shares, groups)


def _pairs(dataset: Dataset, trained: Array, judged: Array) -> tuple[Array, Array]:
    """Whether training has the pair of each judged row, and whether its one label there is the row's."""
    assert dataset.user is not None
    assert dataset.item is not None

    def keys(rows: Array) -> Array:
        return np.asarray(dataset.user[rows]).astype(np.int64) * dataset.schema.n_items + np.asarray(dataset.item[rows])  # type: ignore[index]

    key, place = np.unique(keys(trained), return_inverse=True)
    wanted = keys(judged)
    at = np.minimum(key.searchsorted(wanted), len(key) - 1)
    known = key[at] == wanted
    if dataset.label is None:
        return known, np.zeros(len(judged), bool)
    label = np.asarray(dataset.label[trained], np.float64)
    low, high = np.full(len(key), np.inf), np.full(len(key), -np.inf)
    np.minimum.at(low, place, label)
    np.maximum.at(high, place, label)
    one = low[at] == high[at]
    return known, known & one & (low[at] == np.asarray(dataset.label[judged], np.float64))


class Audited:
    """An evaluation whose report also has its figures on groups of the judged rows, as `Report.groups`.

    Everything else is that of `inner`, whose attributes it has.
    """

    def __init__(self, inner: Evaluator, found: Audit) -> None:
        """`found`: the audit of `inner.rows`."""
        self.inner, self.found = inner, found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name)

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self.inner)

    def start(self, scorer: Any, tables: Tables) -> Any:
        """As `inner`."""
        return self.inner.start(scorer, tables)

    def block(self, index: int, scorer: Any, tables: Tables, state: Any) -> BlockResult:
        """As `inner`."""
        return self.inner.block(index, scorer, tables, state)

    def finish(self, unit: Array, columns: Mapping[str, Array]) -> Report:
        """As `inner`, and the figures of every group that is neither empty nor the whole."""
        whole = self.inner.finish(unit, columns)
        groups: dict[str, dict[str, float]] = {}
        for name, mask in self.found.groups.items():
            if not mask.any() or mask.all():
                continue
            here = self.inner.chosen(unit, mask) if isinstance(self.inner, RankedLists) else mask[unit]
            figures: dict[str, float] = {"rows": float(mask.sum())}
            try:
                part = self.inner.finish(unit[here], {k: c[here] for k, c in columns.items()})
            except DataError:  # one class of labels, or nothing to compare: there is no figure
                part = Report({})
            groups[name] = figures | dict(part.values)
        return Report(whole.values, whole.units, groups, whole.details)


def audit_of(task: Task, trained: Array) -> Audit | None:
    """The audit of a task's test against the rows that the tested model is trained on; None if it names no rows."""
    rows = getattr(task.test, "rows", None)
    if not isinstance(rows, np.ndarray) or not len(rows):
        return None
    return audit(task.dataset, trained, rows)


def audited(task: Task, found: Audit | None) -> Task:
    """The task whose test also gives the figures of the audit's groups."""
    if found is None:
        return task
    return task.changed(test=Audited(task.test, found))
