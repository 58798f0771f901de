"""Chooses the groups of fields that `auto` stands for, by how well labels of other folds predict the label of a row.

Two kinds of groups are looked for. Small ones, of one to three fields, gain where rows of the same values have similar
labels. Wide ones, of nearly all fields, describe siblings: rows of one event, as the impressions of one page or a
positive with the negatives that were drawn for it. Of siblings a positive makes another one unlikely, so that a wide
group is judged by the labels that go with its mean and its number of rows, whichever direction they have.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from fmlab.data.dataset import Dataset, Table
from fmlab.data.derived_fields import COUNTS, SIGN, VALUES, WEIGHT, LabelRange, combined, folds, seen
from fmlab.data.schema import Array, Schema
from fmlab.errors import DataError

log = logging.getLogger("fmlab")
Group = tuple[str, ...]
Groups = Mapping[int, Sequence[Group]]  # by how many fields they have
SAMPLE = 200_000  # training rows by which groups are chosen
LEAST_GAIN = 1e-4  # of the loss that the mean label of all rows has
LEAST_WIDE_GAIN = 1e-2  # the same for a wide group
PAIRS, TRIPLES, BEAM = 12, 6, 6
MOST_FIELDS = 20  # of which pairs are tried
WORK = 25_000_000  # rows of the sample times groups that are tried: of many groups fewer rows are looked at
LEVELS = 8  # of the prediction without a wide group, within which its gain is looked for
CELL_WEIGHT = 20.0  # rows that this prediction counts as in each cell
LEAST_REPEATED = 0.02  # share of rows that have siblings, where these are looked at
LEAST_MET = 0.5  # share of other rows that meet a wide group, in shares of the training rows that do


@dataclass(frozen=True)
class Sample:
    """What the choice of groups reads: training `rows` with their labels float64[rows], and rows of no training.

    `scale` is that of the labels of all training rows.
    """

    schema: Schema
    rows: Table
    label: Array
    scale: LabelRange
    others: Table

    @classmethod
    def of(cls, data: Dataset, training: Array, others: Array) -> "Sample":
        """Of `training` (int64) at most so many rows that the choice is quick; raises DataError without labels."""
        label, fields = training_labels(data, training), min(len(_usable(data.schema)), MOST_FIELDS)
        tried_at_most = len(_usable(data.schema)) + fields * (fields - 1) // 2 + BEAM * fields
        most = min(SAMPLE, WORK // max(1, tried_at_most))
        at = np.sort(np.random.default_rng(0).permutation(len(label))[:most])
        rows = data.row_ids(training[at])
        return cls(data.schema, rows, label[at], LabelRange.of(label), data.row_ids(others))


class Choice(NamedTuple):
    """Groups of one field, of pairs, of triples and of siblings, by their number of fields.

    `met`: the share of the other rows that have siblings in training, and `siblings`: what these share; without such a
    group 0 and no field.
    """

    groups: dict[int, list[Group]]
    met: float = 0.0
    siblings: Group = ()

    def warn(self) -> None:
        """Say where siblings help."""
        if self.siblings:
            log.warning(
                f"{self.met:.0%} of the validation rows have siblings in training, rows with the same "
                f"{SIGN.join(self.siblings)}, whose labels help to predict theirs; where siblings have no label yet "
                "when a row is scored, this says too much: protocol=composed protocol.evaluation=rows "
                "protocol.split=random protocol.group=siblings keeps them together"
            )


def training_labels(data: Dataset, training: Array) -> Array:
    """Labels float64[training]; raises DataError where there are none."""
    if data.label is None:
        raise DataError(f"crosses and target statistics are fitted on labels; {data.name!r} has none")
    return np.asarray(data.label, np.float64)[training]


def choose_groups(sample: Sample) -> Choice:
    """The groups that `auto` stands for.

    The gain of a small group is by how much the mean label of other folds predicts a row's label better than that of
    the best smaller group: in squared errors, or in log loss for classes. Pairs of the best `MOST_FIELDS` fields are
    tried, and the best `BEAM` pairs with one field more; lists are in the order of falling gain. There is one group of
    siblings at most, the last of its list: see `_siblings`.
    """
    schema, gain = sample.schema, _Gain(sample.schema, sample.rows, sample.label, sample.scale)
    single: list[Group] = sorted(((name,) for name in _usable(schema)), key=gain.loss)
    order = {name: n for n, name in enumerate(f.name for f in schema.fields)}
    names = sorted((g[0] for g in single[:MOST_FIELDS]), key=order.__getitem__)
    pairs = gain.best(combinations(names, 2))
    tried = {tuple(sorted({*pair, name}, key=order.__getitem__)) for pair in pairs[:BEAM] for name in names}
    triples = gain.best(sorted(g for g in tried if len(g) == 3))
    chosen = {1: single, 2: pairs[:PAIRS], 3: triples[:TRIPLES]}
    best = min((g for groups in chosen.values() for g in groups), key=gain.loss, default=())
    wide, met = _siblings(schema, names, gain, best, sample.others)
    if wide is None:
        return Choice(chosen)
    if wide not in chosen.get(len(wide), ()):
        chosen.setdefault(len(wide), []).append(wide)
    return Choice(chosen, met, wide if met else ())


def _usable(schema: Schema) -> list[str]:
    """Fields that groups are made of."""
    return [f.name for f in schema.fields if f.slots == 1 and not f.numeric and f.size > 2]


def _siblings(
    schema: Schema, names: Sequence[str], gain: "_Gain", best: Group, others: Table
) -> tuple[Group | None, float]:
    """The fields that siblings share: None unless their labels tell a row's label beside the group `best`.

    Tried are all fields but one, and all that are not of the item; then fields are left out, one at a time, while that
    gains. Siblings that are kept together by the split tell nothing of rows outside of the training, so that these have
    to meet the group nearly as often. The second result is the share of these rows that do.
    """
    query = tuple(f.name for f in schema.fields if f.name in names and f.side != "item")
    starts = {tuple(n for n in names if n != out) for out in names} | {query, tuple(names)}
    found, most = None, LEAST_WIDE_GAIN * gain.known[()]
    tried = {g: gain.wide(g, best) for g in sorted(starts) if len(g) > 1}
    while tried:
        group = max(tried, key=tried.__getitem__)
        if tried[group] <= most:
            break
        found, most = group, tried[group]
        tried = {g: gain.wide(g, best) for g in combinations(group, len(group) - 1) if len(g) > 1}
    if found is None or not len(others.ids):
        return found, 0.0
    own, count, _ = gain.counted(found)
    met = float(np.isin(combined(schema, others, found), own).mean())
    return (None, 0.0) if met < LEAST_MET * (count > 0).mean() else (found, met)


class _Gain:
    def __init__(self, schema: Schema, rows: Table, label: Array, scale: LabelRange) -> None:
        self.schema, self.rows, self.label, self.scale = schema, rows, label, scale
        self.fold = folds(len(label))
        self.known: dict[Group, float] = {(): self._loss(np.full(len(label), scale.center))}
        self.single: dict[Group, Array] = {}  # predictions of single fields, to which those of pairs are shrunk
        self.levels: dict[Group, tuple[Array, Array, float]] = {}  # the prediction of a group, its levels, their loss

    def loss(self, group: Group) -> float:
        """Mean loss of the labels predicted by the means of the other folds."""
        if group not in self.known:
            self.known[group] = self._loss(self._predicted(group))
        return self.known[group]

    def best(self, groups: Iterable[Group]) -> list[Group]:
        """Groups with a gain above `LEAST_GAIN`, in the order of falling gain."""
        gain = {group: self.loss(self._smaller(group)) - self.loss(group) for group in groups}
        return sorted((g for g in gain if gain[g] > LEAST_GAIN * self.known[()]), key=lambda g: -gain[g])

    def wide(self, group: Group, best: Group) -> float:
        """By how much the mean and the number of a group's rows predict labels better than the group `best` alone.

        Both predictions are the mean label of other folds: in cells of the prediction by `best`, the mean and the
        number, and in cells of that prediction alone.
        """
        _, count, total = self.counted(group)
        if (count > 0).mean() < LEAST_REPEATED:
            return 0.0
        if best not in self.levels:
            before = self._predicted(best)
            level = np.searchsorted(np.unique(np.quantile(before, np.arange(1, LEVELS) / LEVELS)), before)
            self.levels[best] = before, level, self._loss(self._mean(level, before))
        before, level, loss = self.levels[best]
        mean = self.scale.smoothed(count, total)
        of_mean = np.searchsorted(np.unique(np.quantile(mean, np.arange(1, VALUES) / VALUES)), mean, side="right")
        of_count = np.where(count > 0, 1 + np.minimum(np.ceil(np.log2(np.maximum(count, 1))), COUNTS - 1), 0)
        cell = (level * VALUES + of_mean) * (COUNTS + 1) + of_count.astype(np.int64)
        return loss - self._loss(self._mean(cell, before))

    def _mean(self, cell: Array, before: Array) -> Array:
        """The mean label of the rows of other folds in a row's cell, shrunk to the prediction `before`."""
        count, total = seen(cell, self.label, self.fold)
        return np.asarray((total + CELL_WEIGHT * before) / (count + CELL_WEIGHT))

    def counted(self, group: Group) -> tuple[Array, Array, Array]:
        """The key of a group in each row, and the number and sum of labels of rows of other folds that have it."""
        key = combined(self.schema, self.rows, group)
        return key, *seen(key, self.label, self.fold)

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
