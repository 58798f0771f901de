"""What a metric is."""

from typing import Protocol, runtime_checkable

from fmlab.data import Array


@runtime_checkable
class RankMetric(Protocol):
    """A mean over ranked lists, from the (possibly fractional) rank of the one relevant item."""

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
    """

    name: str
    maximize: bool

    def of_scores(self, score: Array, label: Array) -> tuple[float, Array | None]:
        """`score[rows]`, `label[rows]` -> (value, contribution of each row, or None: then reports do not test it)."""
        ...
