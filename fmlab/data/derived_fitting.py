"""Chooses crosses and target statistics (target encoding) of a data set, and fits them on its training rows."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Literal

import numpy as np

from fmlab.data.dataset import Dataset, Table
from fmlab.data.derived_fields import (
    LARGEST,
    SIGN,
    VALUES,
    WEIGHT,
    Cross,
    DerivedFields,
    Form,
    LabelRange,
    Statistic,
    combined,
    folds,
    group_of,
    seen,
    size_of,
)
from fmlab.data.schema import Array, Schema
from fmlab.errors import DataError

log = logging.getLogger("fmlab")
Wanted = Literal["auto"] | Sequence[str]
Group = tuple[str, ...]
Groups = Mapping[int, Sequence[Group]]  # by how many fields they have
SAMPLE = 200_000  # training rows by which groups are chosen
LEAST_GAIN = 1e-4  # of the loss that the mean label of all rows has
CROSSES, PAIRS, TRIPLES, BEAM = 4, 12, 6, 6
MOST_FIELDS = 20  # of which pairs are tried
WORK = 25_000_000  # rows of the sample times groups that are tried: of many groups fewer rows are looked at


def fit(
    data: Dataset, training: Array, crosses: Wanted, statistics: Wanted, form: Form, groups: Groups | None = None
) -> DerivedFields:
    """Fit the fields that are wanted on the training rows (int64) of a labeled data set.

    `auto` chooses the groups, `groups` are those that `choose` found before; else they are named, as in `user*item`.
    Where none is named and none gains, there are no fields. Raises DataError for a wrong group.
    """
    rows, label = _labeled(data, training)
    scale = LabelRange.of(label)
    chosen: Groups = {}
    if groups is not None:
        chosen = groups
    elif "auto" in (crosses, statistics):
        chosen = chosen_groups(data.schema, rows, label, scale)
    schema = data.schema
    wanted = chosen[2][:CROSSES] if crosses == "auto" else [group_of(g, schema) for g in crosses]
    described = [g for n in sorted(chosen) for g in chosen[n]] if statistics == "auto" else []
    described = described or [group_of(g, schema) for g in statistics if statistics != "auto"]
    for what, asked, found in (("crosses", crosses, wanted), ("target_statistics", statistics, described)):
        if asked == "auto" and not found:
            log.info(f"{data.name}: {what}=auto makes no field, as no group of categorical fields gains")
    fold = folds(len(label))
    made = DerivedFields(
        schema,
        tuple(Cross(group, _repeated(combined(schema, rows, group))) for group in wanted),
        tuple(_statistic(schema, rows, label, fold, scale, group, form) for group in described),
        form,
        scale,
    )
    for what, found in (("crosses", wanted), ("target statistics", described)):
        if found:
            log.info(f"{data.name}: {what} of {', '.join(map(SIGN.join, found))}")
    return made


def choose(data: Dataset, training: Array) -> Groups:
    """The groups that `auto` stands for, by the training rows (int64) of a labeled data set: see `chosen_groups`."""
    rows, label = _labeled(data, training)
    return chosen_groups(data.schema, rows, label, LabelRange.of(label))


def _labeled(data: Dataset, training: Array) -> tuple[Table, Array]:
    if data.label is None:
        raise DataError(f"crosses and target statistics are fitted on labels; {data.name!r} has none")
    return data.row_ids(training), np.asarray(data.label, np.float64)[training]


def _repeated(key: Array) -> Array:
    kinds, count = np.unique(key, return_counts=True)
    return kinds[count > 1]


def _statistic(
    schema: Schema, rows: Table, label: Array, fold: Array, scale: LabelRange, group: Group, form: Form
) -> Statistic:
    key = combined(schema, rows, group)
    kinds, place = np.unique(key, return_inverse=True)
    edges = np.zeros(0, np.float32)
    if form == "bins":
        count, total = seen(key, label, fold)
        mean = scale.smoothed(count, total)[count > 0].astype(np.float32)
        edges = np.unique(np.quantile(mean, np.arange(1, VALUES) / VALUES)) if len(mean) else edges
    count = np.bincount(place, minlength=len(kinds)).astype(np.uint32)
    return Statistic(group, kinds, count, np.bincount(place, label, len(kinds)), edges.astype(np.float32))


def chosen_groups(schema: Schema, rows: Table, label: Array, scale: LabelRange) -> dict[int, list[Group]]:
    """Groups of one field, of pairs and of triples, each list in the order of falling gain.

    The gain of a group is by how much the mean label of other folds predicts a row's label better than that of the best
    smaller group: in squared errors, or in log loss for classes. Pairs of the best `MOST_FIELDS` fields are
    tried, and the best `BEAM` pairs with one field more.
    """
    usable = [f.name for f in schema.fields if f.slots == 1 and not f.numeric and f.size > 2]
    fields = min(len(usable), MOST_FIELDS)
    tried_at_most = len(usable) + fields * (fields - 1) // 2 + BEAM * fields
    most = min(SAMPLE, WORK // max(1, tried_at_most))
    at = np.sort(np.random.default_rng(0).permutation(len(label))[:most])
    gain = _Gain(schema, Table(rows.ids[at]), label[at], scale)
    single: list[Group] = sorted(((name,) for name in usable), key=gain.loss)
    order = {name: n for n, name in enumerate(f.name for f in schema.fields)}
    names = sorted((g[0] for g in single[:MOST_FIELDS]), key=order.__getitem__)
    pairs = gain.best(combinations(names, 2))
    tried = {tuple(sorted({*pair, name}, key=order.__getitem__)) for pair in pairs[:BEAM] for name in names}
    triples = gain.best(sorted(g for g in tried if len(g) == 3))
    return {1: single, 2: pairs[:PAIRS], 3: triples[:TRIPLES]}


class _Gain:
    def __init__(self, schema: Schema, rows: Table, label: Array, scale: LabelRange) -> None:
        self.schema, self.rows, self.label, self.scale = schema, rows, label, scale
        self.fold = folds(len(label))
        self.known: dict[Group, float] = {(): self._loss(np.full(len(label), scale.center))}
        self.single: dict[Group, Array] = {}  # predictions of single fields, to which those of pairs are shrunk

    def loss(self, group: Group) -> float:
        """Mean loss of the labels predicted by the means of the other folds."""
        if group not in self.known:
            self.known[group] = self._loss(self._predicted(group))
        return self.known[group]

    def best(self, groups: Iterable[Group]) -> list[Group]:
        """Groups with a gain above `LEAST_GAIN`, in the order of falling gain."""
        gain = {}
        for group in groups:
            if size_of(self.schema, group) <= LARGEST:
                gain[group] = self.loss(self._smaller(group)) - self.loss(group)
        return sorted((g for g in gain if gain[g] > LEAST_GAIN * self.known[()]), key=lambda g: -gain[g])

    def _smaller(self, group: Group) -> Group:
        return min(combinations(group, len(group) - 1), key=self.loss)

    def _predicted(self, group: Group) -> Array:
        """The mean label of rows of other folds, shrunk to that of the best smaller group."""
        if group in self.single:
            return self.single[group]
        before = self._predicted(self._smaller(group)) if group else self.scale.center
        count, total = seen(combined(self.schema, self.rows, group), self.label, self.fold)
        found: Array = np.asarray((total + WEIGHT * before) / (count + WEIGHT))
        if len(group) < 2:
            self.single[group] = found
        return found

    def _loss(self, predicted: Array) -> float:
        if not self.scale.classes:
            return float(np.square(predicted - self.label).mean())
        share = np.clip((predicted - self.scale.low) / (self.scale.high - self.scale.low), 1e-3, 1 - 1e-3)
        return float(-np.log(np.where(self.label == self.scale.high, share, 1 - share)).mean())
