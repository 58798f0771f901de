"""What the parts of a split share, and what of the judged rows no training row has."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fmlab.data.dataset import Dataset
from fmlab.data.row_hash import row_hash
from fmlab.data.schema import Array
from fmlab.data.split import TEST, TRAIN, VALIDATION, given_parts, sides
from fmlab.errors import DataError

CHUNK = 1 << 18  # rows of context in memory at a time


def shared_rows(dataset: Dataset, min_label: float | None = None) -> int:
    """How many of the rows (of a label >= `min_label`) are in more than one part of the split the data come with.

    A row is its user, its item and its context: the same pair in another context is another event.
    """
    user, item = sides(dataset)
    part = given_parts(dataset)
    rows = np.arange(dataset.rows)
    if min_label is not None and dataset.label is not None:
        rows = np.flatnonzero(np.asarray(dataset.label) >= min_label)
    key = user[rows].astype(np.int64) * dataset.schema.n_items + item[rows]
    rows = rows[_in_several(key, part[rows])]
    if dataset.context is None or not len(rows):
        return len(rows)
    table = dataset.context.take(rows)
    columns = [user[rows], item[rows], *table.ids.T, *([] if table.values is None else table.values.T)]
    _, key = np.unique(np.stack(columns, 1), axis=0, return_inverse=True)
    return int(np.count_nonzero(_in_several(key.reshape(-1), part[rows])))


def _in_several(key: Array, part: Array) -> Array:
    """Whether the key of each row is in more than one part."""
    order = np.argsort(key, kind="stable")
    begins = np.flatnonzero(np.r_[True, key[order][1:] != key[order][:-1]])
    low, high = (reduce.reduceat(part[order], begins) for reduce in (np.minimum, np.maximum))
    several = np.empty(len(key), bool)
    several[order] = np.repeat(low != high, np.diff(np.r_[begins, len(key)]))
    return several


def refuse_shared(dataset: Dataset, min_label: float | None, on_leak: str) -> None:
    """Raise DataError if parts of the split that the data come with share rows, unless `on_leak` is "drop"."""
    if on_leak != "drop" and (shared := shared_rows(dataset, min_label)):
        raise DataError(
            f"the parts of a split must not share interactions, {shared:,} rows of {dataset.name!r} are in more than "
            "one; protocol.on_leak=drop keeps the earliest of each"
        )


class Copies(NamedTuple):
    """Judged `rows` that copy one of an earlier part, of so many `judged`; `usual`: how often rows repeat anyway."""

    rows: Array
    judged: int
    usual: float


def copies(dataset: Dataset, part: Array) -> Copies:
    """Judged rows that an earlier part has too: features, label and time are equal.

    Events may repeat: the same ad is shown to the same user again, or few columns tell few rows apart. A test row
    meets its like in training about as often as a training row does among the others. Rows count as copies where they
    are more than that, beyond three standard errors.
    """
    found, judged, prints = [np.empty(0, np.int64)], 0, _prints(dataset)
    _, times = np.unique(prints[part == TRAIN], return_counts=True)
    trained = max(1, int(times.sum()))
    rate = float(times[times > 1].sum()) / trained
    for where in (VALIDATION, TEST):
        rows = np.flatnonzero(part == where)
        again = rows[_among(np.unique(prints[part < where]), prints[rows])]
        chance = rate * (1 - rate) * (len(rows) + len(rows) ** 2 / trained)
        if len(again) > rate * len(rows) + 3 * chance**0.5:
            found.append(again)
        judged += len(rows)
    return Copies(np.concatenate(found), judged, rate)


def repeated(dataset: Dataset, trained: Array, judged: Array) -> Array:
    """Which judged rows have all features of a training row, whatever their label and time: bool[judged]."""
    prints = _prints(replace(dataset, label=None, time=None))
    return _among(np.unique(prints[trained]), prints[judged])


def _among(known: Array, prints: Array) -> Array:
    """Which of the numbers are in the ascending `known`."""
    at = np.minimum(known.searchsorted(prints), len(known) - 1)
    return np.asarray(known[at] == prints)


def siblings(dataset: Dataset, trained: Array, judged: Array) -> Array:
    """Which judged rows have the user and the whole context of a training row, whatever its item: bool[judged]."""
    events = event_hash(dataset)
    return _among(np.unique(events[trained]), events[judged])


def event_hash(dataset: Dataset) -> Array:
    """uint64[rows], equal for siblings, rows of one user and one whole context; raises DataError without a context."""
    if dataset.context is None:
        raise DataError(f"siblings are rows of one user and one context; {dataset.name!r} has no context")
    return _prints(replace(dataset, item=None, label=None, time=None))


def _prints(dataset: Dataset) -> Array:
    """A number uint64 of each row that tells different rows apart, but for a chance of 2^-64."""
    found = np.empty(dataset.rows, np.uint64)
    for rows in _pieces(np.arange(dataset.rows)):
        columns = [c[rows] for c in (dataset.user, dataset.item, dataset.label, dataset.time) if c is not None]
        if dataset.context is not None:
            table = dataset.context.take(rows)
            columns += [*table.ids.T, *([] if table.values is None else table.values.T)]
        found[rows] = row_hash(columns, len(rows))
    return found


def unseen(dataset: Dataset, trained: Array, judged: Array) -> dict[str, int]:
    """How many judged rows have a user, an item, or another value (of attributes, of context) no training row has."""
    schema = dataset.schema
    seen, found = np.zeros(schema.n_features, bool), {}
    others = np.zeros(len(judged), bool)
    entities = (("user", dataset.user, dataset.users), ("item", dataset.item, dataset.items))
    for name, index, table in entities:
        if index is None or table is None:
            continue
        known = np.bincount(np.asarray(index[trained]), minlength=len(table.ids)) > 0
        seen[table.ids[known]] = True
        found[name] = int(np.count_nonzero(~known[index[judged]]))
        fields = np.array([schema.fields[f].name for f in schema.column_field])[schema.columns(name)]  # type: ignore[arg-type]
        strange = np.asarray(~seen[table.ids[:, fields != name]].all(1))
        others |= strange[index[judged]]
    if dataset.context is not None:
        for rows in _pieces(trained):
            seen[dataset.context.ids[rows]] = True
        at = 0
        for rows in _pieces(judged):
            others[at : at + len(rows)] |= ~seen[dataset.context.ids[rows]].all(1)
            at += len(rows)
    return {**found, "other values": int(np.count_nonzero(others))}


def unseen_of(dataset: Dataset, trained: Array, **parts: Any) -> dict[str, dict[str, int]]:
    """`unseen` of each evaluation that says which `rows` it judges, with their number, by its name."""
    rows = {name: np.asarray(getattr(part, "rows", ()), np.int64) for name, part in parts.items()}
    return {n: {"rows": len(judged), **unseen(dataset, trained, judged)} for n, judged in rows.items() if len(judged)}


def said(found: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What `unseen_of` found, as lines; nothing of parts without."""
    lines = []
    for name, counts in found.items():
        each = ", ".join(f"{what} {n:,}" for what, n in counts.items() if what != "rows")
        if sum(counts.values()) > counts["rows"]:
            lines.append(f"  rows of {name} with what no training row has: {each}, of {counts['rows']:,}")
    return lines


def _pieces(rows: Array) -> list[Array]:
    return np.array_split(rows, len(rows) // CHUNK + 1)
