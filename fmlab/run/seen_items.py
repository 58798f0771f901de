"""What every user has met, and in which part of the data: items that a list may leave out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from fmlab.contracts import Task
from fmlab.data import Array, Dataset

Exclude = Literal["none", "train", "train+validation", "all"]
EXCLUDES: tuple[Exclude, ...] = ("none", "train", "train+validation", "all")
TRAIN, VALIDATION, TEST, LEFT_OUT = range(4)
Met = tuple[Array, Array]  # places of queries and of items


@dataclass(frozen=True)
class Seen:
    """Pairs of a user and an item, each once, in the order of users and then of items.

    `key`: int64[pairs], user * n_items + item, ascending. `part`: uint8[pairs], the first part that has the pair:
    0 train, 1 validation, 2 test, 3 none of them (rows that the protocol left out). Users from `n_users` on are those
    that the protocol left out; `others` are their names.
    """

    n_users: int
    n_items: int
    key: Array
    part: Array
    others: Any  # pyarrow.StringArray

    @cached_property
    def _other(self) -> dict[str, int]:
        return {name: self.n_users + n for n, name in enumerate(self.others.to_pylist())}

    @property
    def trained(self) -> Array:
        """bool[n_users]: users with a training interaction."""
        found = np.zeros(self.n_users, bool)
        found[np.unique(self.key[self.part == TRAIN] // max(1, self.n_items))] = True
        return found

    def of(self, number: Sequence[int], name: Sequence[str | None], exclude: Exclude) -> Met:
        """Places in the sequence of users, and of items to leave out.

        `number`: of each user its number among those the model knows, -1 for others, who are looked up by `name`.
        """
        last = {"none": -1, "train": TRAIN, "train+validation": VALIDATION, "all": LEFT_OUT}[exclude]
        who = [n if n >= 0 else self._other.get(text or "", -1) for n, text in zip(number, name, strict=True)]
        parts = []
        for place, user in enumerate(who):
            if user < 0 or last < 0:
                continue
            low, high = np.searchsorted(self.key, [user * self.n_items, (user + 1) * self.n_items])
            kept = self.key[low:high][self.part[low:high] <= last]
            parts.append((np.full(len(kept), place, np.int64), kept - user * self.n_items))
        empty = np.zeros(0, np.int64)
        return np.concatenate([empty, *(p for p, _ in parts)]), np.concatenate([empty, *(i for _, i in parts)])


def met(label: Array | None) -> Array | None:
    """Which rows say that the user met the item; None for all of them.

    Where labels are 0 and 1, or -1 and 1, rows of the lower one were shown or sampled, not taken. With any other labels
    every row is an interaction, whatever the user thought of it.
    """
    if label is None or not len(label):
        return None
    label = np.asarray(label)
    low = label.min()
    if label.max() != 1 or low not in (0, -1):
        return None
    ones = label == 1
    return ones if bool((ones | (label == low)).all()) else None


def seen_of(source: Dataset, task: Task) -> Seen | None:
    """Of a task, and the data set before its protocol left out rows; None where rows are no interactions."""
    data = task.dataset
    if data.user is None or data.item is None or source.user is None or source.item is None:
        return None
    parts = {TRAIN: task.training.rows}
    for part, evaluator in ((VALIDATION, task.validation), (TEST, task.test)):
        parts[part] = np.asarray(getattr(evaluator, "rows", ()), np.int64)
    took, n_items = met(data.label), data.schema.n_items
    marked = []  # 4 * key + part: sorted, the first of equal keys has the first part
    for part, rows in parts.items():
        rows = rows if took is None else rows[took[rows]]
        key = np.asarray(data.user)[rows].astype(np.int64) * n_items + np.asarray(data.item)[rows]
        marked.append(4 * key + part)
    user, item, others = _numbered(source, data)
    keep = item >= 0
    if (took := met(source.label)) is not None:
        keep &= took
    marked.append(4 * (user[keep] * n_items + item[keep]) + LEFT_OUT)
    every = np.concatenate(marked)
    every.sort()
    key = every >> 2
    first = np.r_[True, key[1:] != key[:-1]] if len(key) else np.zeros(0, bool)
    return Seen(data.schema.n_users, n_items, key[first], (every[first] & 3).astype(np.uint8), others)


def popularity_of(task: Task) -> Array | None:
    """Training interactions of every item, int64[items]; None where there are no items."""
    data, rows = task.dataset, task.training.rows
    if data.item is None:
        return None
    took = met(data.label)
    rows = rows if took is None else rows[took[rows]]
    return np.bincount(np.asarray(data.item)[rows], minlength=data.schema.n_items)


def _numbered(source: Dataset, data: Dataset) -> tuple[Array, Array, Any]:
    """User and item of every row of the source as numbers of the data set; users that it lacks come after its own.

    Items that it lacks are -1.
    """
    import pyarrow as pa

    assert source.user is not None
    assert source.item is not None
    users, unknown = _places(source, data, "user")
    items, _ = _places(source, data, "item")
    item: Array = items[np.asarray(source.item)]
    here = np.zeros(len(users), bool)
    here[np.asarray(source.user)[item >= 0]] = True
    extra = np.flatnonzero((users < 0) & here)  # users that have met something the model can rank
    users[extra] = data.schema.n_users + np.arange(len(extra))
    names = unknown.take(pa.array(extra)) if unknown is not None else pa.array([], pa.string())
    user: Array = users[np.asarray(source.user)]
    return user, np.where(user < 0, -1, item), names


def _places(source: Dataset, data: Dataset, side: str) -> tuple[Array, Any]:
    """Of each user or item of the source its number in the data set or -1, and the names of all if some are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if source.keys is data.keys:  # the protocol left all of them as they were
        return np.arange(getattr(data.schema, f"n_{side}s"), dtype=np.int64), None
    before, after = (
        pa.array(d.keys[next(f.name for f in d.schema.fields if f.side == side)].tolist(), pa.string())
        for d in (source, data)
    )
    found = pc.fill_null(pc.index_in(before, value_set=after), -1).to_numpy(zero_copy_only=False)
    return np.array(found, np.int64), before
