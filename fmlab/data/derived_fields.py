"""Target statistics (target encoding) and crosses: fields that are computed from other fields of a row.

A cross of `user*item` is one category for each pair of a user and an item that stands in two training rows or more. A
target statistic is the mean label and the number of the training rows with the same values. Both are fitted on training
rows alone. The statistic of a training row is of the rows of the other folds, so that it leaves out the row's own
label; that of every other row, judged or served, is of all training rows.

`derived_fitting` chooses and fits them, `fmlab.run.derived_task` adds them to the task of a run,
`fmlab.run.derived_arrays` saves them, `fmlab.run.derived_fields_model` computes them when the model is served. Fields
that are ignored leave a row in the same places.

Source: Micci-Barreca, A preprocessing scheme for high-cardinality categorical attributes, SIGKDD Explorations 2001; the
choice of crosses follows Luo et al., AutoCross, KDD 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Literal

import numpy as np

from fmlab.data.dataset import Dataset, Table
from fmlab.data.kept_fields import KeptFields
from fmlab.data.row_hash import row_hash
from fmlab.data.schema import Array, Field, Schema
from fmlab.errors import DataError, choices

Form = Literal["bins", "numbers"]
SIGN = "*"  # between the fields of a group, as in user*item
FOLDS = 10
WEIGHT = 1.0  # training rows that the mean label of all counts as: statistics of few rows are shrunk to it
VALUES, COUNTS = 16, 8  # bins of a statistic: of the mean, and of the number of rows
BOUND = 5.0  # of means as logarithms of odds
TABLE, LONGEST = 32, 1 << 24  # numbers in a table that places are looked up in: so many for each row, and at most
LARGEST = 1 << 62  # combinations of values that are numbered; those of more are hashed


@dataclass(frozen=True)
class Cross:
    """A field of the combinations of `fields` that stand in two training rows or more, in ascending order of `key`."""

    fields: tuple[str, ...]
    key: Array


@dataclass(frozen=True)
class Statistic:
    """Of each combination of `fields` in the training rows: `count` of rows, and `total` of their labels.

    `edges`: where the bins of the mean begin, ascending; none where the statistic is given as numbers.
    """

    fields: tuple[str, ...]
    key: Array
    count: Array
    total: Array
    edges: Array


@dataclass(frozen=True)
class LabelRange:
    """The training labels: their mean `center` and deviation `spread`, and `low` and `high`.

    `classes`: there are no labels but these two.
    """

    center: float
    spread: float
    low: float
    high: float
    classes: bool

    @classmethod
    def of(cls, label: Array) -> "LabelRange":
        """The range of `label[rows]`; raises DataError where all labels are equal."""
        label = np.asarray(label, np.float64)
        low, high = float(label.min()), float(label.max())
        if low == high:
            raise DataError(f"target statistics need training rows with different labels, all are {low:g}")
        return cls(float(label.mean()), float(label.std()), low, high, bool(((label == low) | (label == high)).all()))

    def smoothed(self, count: Array, total: Array) -> Array:
        """Means float64[n] of `count[n]` labels that add up to `total[n]`, shrunk to the mean of all.

        For two classes, the log-odds of the higher one; for other labels, standardized deviations from the mean of all.
        """
        mean = (total + WEIGHT * self.center) / (count + WEIGHT)
        if not self.classes:
            return (mean - self.center) / self.spread
        share = np.clip((mean - self.low) / (self.high - self.low), 1e-9, 1 - 1e-9)
        return np.clip(np.log(share / (1 - share)), -BOUND, BOUND)


@dataclass(frozen=True)
class DerivedFields:
    """Crosses and statistics that `fit` made from the training rows of a data set with the schema `base`.

    `scale` is that of the labels, None where there are no statistics. `form`: "bins" makes a statistic a category, for
    embeddings; "numbers" makes it two numbers, for trees. Rows of `schema` are without the fields that are `ignored`;
    crosses and statistics may be of them.
    """

    base: Schema
    crosses: tuple[Cross, ...]
    statistics: tuple[Statistic, ...]
    form: Form
    scale: "LabelRange | None"
    ignored: tuple[str, ...] = ()

    @cached_property
    def kept(self) -> KeptFields:
        """The base fields that stay."""
        return KeptFields(self.base, self.ignored)

    @property
    def adds(self) -> bool:
        """Whether there are crosses or statistics."""
        return bool(self.crosses or self.statistics)

    @property
    def unread(self) -> list[str]:
        """The fields that are ignored and of which there is no cross or statistic."""
        groups = [*(c.fields for c in self.crosses), *(s.fields for s in self.statistics)]
        read = {name for group in groups for name in group}
        return [name for name in self.ignored if name not in read]

    @cached_property
    def schema(self) -> Schema:
        """The base fields that stay and the derived ones, which are the last fields of the context."""
        made = [Field(SIGN.join(c.fields), "context", len(c.key) + 1) for c in self.crosses]
        for statistic in self.statistics:
            name = SIGN.join(statistic.fields)
            if self.form == "bins":
                made.append(Field(f"label of {name}", "context", VALUES * COUNTS + 1))
            else:
                made += [Field(f"{what} of {name}", "context", 2, numeric=True) for what in ("label", "rows")]
        before = [f for f in self.kept.schema.fields if f.side != "item"]
        after = [f for f in self.kept.schema.fields if f.side == "item"]
        return Schema((*before, *made, *after), self.base.n_users, self.base.n_items)

    @cached_property
    def shift(self) -> int:
        """The number that is added to the ids of item features, where the fields that are ignored have left."""
        return self.schema.n_features - self.kept.schema.n_features

    def with_fields(self, rows: Table) -> Table:
        """Whole rows of the base schema as rows of `schema`, described by all training rows."""
        return self._joined(self.kept.of(rows), self._made(rows))

    def dataset(self, data: Dataset, training: Array) -> Dataset:
        """The data set with these fields; `training`: its rows (int64) that the fields were fitted on."""
        label = np.asarray(data.label, np.float64)[training]
        made = self._made(data.row_ids(np.arange(data.rows)), training, label)
        if data.context is not None:
            made = _concatenated(self.kept.of(data.context.take(np.arange(data.rows)), "context"), made)
        users = None if data.users is None else self.kept.of(data.users, "user")
        items = None
        if data.items is not None and self.schema.has_items:
            items = self.kept.of(data.items, "item")
            items = replace(items, ids=np.asarray(items.ids) + self.shift)
        return replace(data, schema=self.schema, users=users, context=made, items=items, truth=None)

    def _joined(self, rows: Table, made: Table) -> Table:
        cut = self.kept.schema.query.stop
        values = None if rows.values is None else np.asarray(rows.values)
        left = Table(np.asarray(rows.ids)[:, :cut], None if values is None else values[:, :cut])
        right = Table(np.asarray(rows.ids)[:, cut:] + self.shift, None if values is None else values[:, cut:])
        return _concatenated(_concatenated(left, made), right)

    def _made(self, rows: Table, training: Array | None = None, label: Array | None = None) -> Table:
        """Columns of the fields; `training`: which rows (int64) the fields were fitted on, with the labels `label`."""
        offsets = self.schema.offsets[self._first :]
        size = len(self.crosses) + len(self.statistics) * (1 if self.form == "bins" else 2)
        ids = np.empty((len(rows.ids), size), np.int32)
        values = np.ones(ids.shape, np.float32) if self.schema.numeric else None
        for at, cross in enumerate(self.crosses):
            place, found = _find(cross.key, combined(self.base, rows, cross.fields))
            ids[:, at] = offsets[at] + np.where(found, place + 1, 0)
        at, fold = len(self.crosses), None if label is None else folds(len(label))
        for statistic in self.statistics:
            place, found = _find(statistic.key, combined(self.base, rows, statistic.fields))
            count = np.where(found, statistic.count[place], 0).astype(np.float64)
            total = np.where(found, statistic.total[place], 0.0)
            if training is not None and label is not None and fold is not None:  # each leaves its own fold out
                count[training], total[training] = seen_in(place[training], len(statistic.key), label, fold)
            assert self.scale is not None
            mean = self.scale.smoothed(count, total)
            if self.form == "bins":
                ids[:, at] = offsets[at] + np.where(count > 0, 1 + self._bin(statistic, count, mean), 0)
            else:
                assert values is not None
                ids[:, at], ids[:, at + 1] = offsets[at] + (count > 0), offsets[at + 1] + 1
                values[:, at], values[:, at + 1] = np.where(count > 0, mean, 1), np.log1p(count)
            at += 1 if self.form == "bins" else 2
        return Table(ids, values)

    @property
    def _first(self) -> int:
        return sum(f.side != "item" for f in self.kept.schema.fields)

    @staticmethod
    def _bin(statistic: Statistic, count: Array, mean: Array) -> Array:
        size = np.minimum(np.ceil(np.log2(np.maximum(count, 1))), COUNTS - 1).astype(np.int64)
        return np.searchsorted(statistic.edges, mean.astype(np.float32), side="right") * COUNTS + size


def group_of(text: str, schema: Schema) -> tuple[str, ...]:
    """The fields of `user*item`; raises DataError unless each is a categorical field of one slot."""
    usable = [f.name for f in schema.fields if f.slots == 1 and not f.numeric]
    names = tuple(part.strip() for part in text.split(SIGN))
    for name in names:
        if name not in usable:
            raise DataError(
                f"a group such as {SIGN.join(usable[:2])} names categorical fields of one value, got {name!r} in "
                f"{text!r}; {choices(name, usable)}"
            )
    if len(set(names)) < len(names):
        raise DataError(f"a group names each field once, got {text!r}")
    return names


def combined(schema: Schema, rows: Table, names: Sequence[str]) -> Array:
    """One number int64[n] for the combination of values that each row has in the fields of a group."""
    columns = {schema.fields[f].name: c for c, f in enumerate(schema.column_field)}
    places = {f.name: n for n, f in enumerate(schema.fields)}
    numbers = [np.asarray(rows.ids)[:, columns[n]].astype(np.int64) - schema.offsets[places[n]] for n in names]
    sizes = [schema.fields[places[name]].size for name in names]
    if prod(sizes) > LARGEST:
        return row_hash(numbers, len(rows.ids)).view(np.int64)
    key = np.zeros(len(rows.ids), np.int64)
    for number, size in zip(numbers, sizes, strict=True):
        key = key * size + number
    return key


def folds(rows: int) -> Array:
    """The fold of each training row, int8[rows]: equally many rows in each, the same for the same number of rows."""
    return np.random.default_rng(rows).permutation(np.arange(rows) % FOLDS).astype(np.int8)


def distinct(key: Array) -> tuple[Array, Array]:
    """The different numbers of `key[n]` (int64) in ascending order, and the place of each of the n among them.

    As `np.unique` gives them; small numbers are looked up in a table, which is quicker than to sort them.
    """
    if not len(key) or key.min() < 0 or key.max() >= _tabulated(key):
        return np.unique(key, return_inverse=True)
    there = np.zeros(int(key.max()) + 1, bool)
    there[key] = True
    return np.flatnonzero(there), (np.cumsum(there, dtype=np.int32) - 1)[key]


def _tabulated(key: Array) -> int:
    """Numbers below this are looked up in a table."""
    return min(TABLE * len(key), LONGEST)


def seen(key: Array, label: Array, fold: Array) -> tuple[Array, Array]:
    """Of each training row, how many rows of other folds have its `key`, and the sum of their labels."""
    kinds, place = distinct(key)
    return seen_in(place, len(kinds), label, fold)


def seen_in(place: Array, kinds: int, label: Array, fold: Array) -> tuple[Array, Array]:
    """The same, where `place[rows]` is which of so many `kinds` of keys a row has."""
    inside = place * FOLDS + fold
    parts = []
    for weight in (None, label):
        whole = np.bincount(place, weight, kinds)
        own = np.bincount(inside, weight, kinds * FOLDS)
        parts.append(np.rint(whole[place] - own[inside]) if weight is None else whole[place] - own[inside])
    count, total = parts
    return count, np.where(count > 0, total, 0.0)


def _find(known: Array, key: Array) -> tuple[Array, Array]:
    """Places in the ascending `known`, which say nothing where the second result is False: the key is not there."""
    if not len(known):
        return np.zeros(len(key), np.int64), np.zeros(len(key), bool)
    if known[0] >= 0 and known[-1] < _tabulated(key):
        table = np.full(int(known[-1]) + 1, -1, np.int32)
        table[known] = np.arange(len(known))
        place = np.where((key >= 0) & (key <= known[-1]), table[np.clip(key, 0, known[-1])], -1)
        return np.maximum(place, 0), place >= 0
    place = np.minimum(np.searchsorted(known, key), len(known) - 1)
    return place, known[place] == key


def _concatenated(left: Table, right: Table) -> Table:
    ids = np.concatenate([np.asarray(left.ids), np.asarray(right.ids)], 1)
    if left.values is None and right.values is None:
        return Table(ids)
    ones = [np.ones(np.shape(t.ids), np.float32) if t.values is None else np.asarray(t.values) for t in (left, right)]
    return Table(ids, np.concatenate(ones, 1))
