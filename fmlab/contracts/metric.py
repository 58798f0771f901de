"""What a metric is, and the views of a judged part that it may ask for."""

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np

from fmlab.data import Array
from fmlab.errors import FmlabError, choices


@dataclass(frozen=True)
class Ranks:
    """The ranks of all relevant items of each list; a list is what was ranked for one user, or for one test row.

    `rank`: float64[relevant], 1 is best, ascending within a list. Items of equal score have their expected rank, a
    fraction perhaps, unless the protocol breaks ties otherwise. `begin`: int64[lists + 1], the relevant items of list l
    are `rank[begin[l]:begin[l + 1]]`; every list has at least one.
    """

    rank: Array
    begin: Array

    def __len__(self) -> int:
        """Number of lists."""
        return len(self.begin) - 1

    @cached_property
    def count(self) -> Array:
        """int64[lists]: relevant items of each list."""
        return np.diff(self.begin)

    @cached_property
    def owner(self) -> Array:
        """int64[relevant]: the list of each relevant item."""
        return np.repeat(np.arange(len(self)), self.count)

    @cached_property
    def best(self) -> Array:
        """float64[lists]: the rank of the best relevant item."""
        return self.rank[self.begin[:-1]]

    @cached_property
    def place(self) -> Array:
        """float64[relevant]: how many relevant items of the list stand at this rank or before it, in expectation."""
        number = np.arange(len(self.rank)) - np.repeat(self.begin[:-1], self.count) + 1.0
        new = np.r_[True, (self.rank[1:] != self.rank[:-1]) | (self.owner[1:] != self.owner[:-1])]
        first = np.flatnonzero(new)
        size = np.diff(np.r_[first, len(self.rank)])
        return np.repeat(number[first] + (size - 1) / 2, size)

    def total(self, values: Array) -> Array:
        """`values[relevant]` -> their sum in each list."""
        if len(self.rank) == len(self):
            return np.asarray(values, np.float64)
        return np.asarray(np.add.reduceat(np.asarray(values, np.float64), self.begin[:-1]))

    def within(self, k: int | None) -> Array:
        """bool[relevant]: whether the item is among the first `k`; None: always."""
        return self.rank <= (np.inf if k is None else k)


@runtime_checkable
class ListMetric(Protocol):
    """A figure over ranked lists.

    `of_lists` may name any of these as keyword-only parameters, and is given those that it names; what no metric names
    is not computed.

    | name                 | what                                                                                     |
    |----------------------|------------------------------------------------------------------------------------------|
    | `candidates`         | int64[lists]: items that were ranked                                                     |
    | `item`               | int64[relevant]: the relevant items, in the order of `ranks.rank`                         |
    | `gains`              | float64[relevant]: their labels, 1 where the data have none                              |
    | `user`               | int64[lists]                                                                             |
    | `top`                | int64[lists, k]: the first `k` items, -1 beyond a shorter list; `k` is the metric's own  |
    | `popularity`         | int64[items]: interactions of each item that were trained on                             |
    | `history_popularity` | float64[lists]: mean popularity of what the user was trained with, NaN without any       |
    | `n_users`            | int: users with training interactions                                                    |
    | `attributes`         | int64[items, columns]: features of the items but their ids, -1 where one is unknown       |
    """

    name: str
    maximize: bool

    def of_lists(self, ranks: Ranks, **asked: Any) -> Array | float:
        """Value of each list, float64[lists], NaN where it is undefined; or one number for all lists together."""
        ...


@runtime_checkable
class RankMetric(Protocol):
    """The older form of a metric of ranked lists, with one relevant item a list; `ListMetric` replaces it."""

    name: str
    maximize: bool

    def of_ranks(self, rank: Array) -> Array:
        """`rank[lists]` (1 is best; ties by expected position) -> value of each list."""
        ...


@runtime_checkable
class ScoreMetric(Protocol):
    """A figure over scored rows. One that takes differences of scores and labels has `on_label_scale = True`.

    The figure is the mean of the rows' contributions, or `of_mean(mean)` of that mean where the metric has such a
    static method, as a root; a metric of another form gives contributions with that mean that are right to first
    order. Reports resample them.

    `of_scores` may name `weight`, float64[rows], how much each row counts (None: all alike), and `group`, int64[rows],
    and is given what it names; data with row weights are refused by a metric that does not name `weight`. A metric with
    a best value that is neither the highest nor the lowest has it as `best`, and does not select models. One may have
    `details(score, label, ...)`, with the same parameters: numbers and lists by name, such as a curve, which the
    run keeps beside the figure.
    """

    name: str
    maximize: bool

    def of_scores(self, score: Array, label: Array, **asked: Any) -> tuple[float, Array | None]:
        """`score[rows]`, `label[rows]` -> (value, contribution of each row, or None: then reports do not test it)."""
        ...


ROW_VIEWS = ("weight", "group")


def row_views(metric: ScoreMetric) -> tuple[str, ...]:
    """What `of_scores` names beside score and label; raises FmlabError for a name that there is no view of."""
    parameters = list(inspect.signature(metric.of_scores).parameters.values())[2:]
    names = tuple(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)
    for name in names:
        if name not in ROW_VIEWS:
            raise FmlabError(f"metric {metric.name} asks for {name!r}, which is no view; {choices(name, ROW_VIEWS)}")
    return names


def value_on_rows(
    metric: ScoreMetric, score: Array, label: Array, weight: Array | None = None, group: Array | None = None
) -> tuple[float, Array | None]:
    """What `of_scores` gives, asked with the views that it names."""
    views = {"weight": weight, "group": group}
    return metric.of_scores(score, label, **{name: views[name] for name in row_views(metric)})
