"""How often the label is 1 where a model says a probability: sums over intervals of its scores."""

from typing import Any

import numpy as np

from fmlab.data import Array
from fmlab.data.labels import are_zeros_and_ones, probability

BINS = 15


def bin_sums(score: Array, label: Array, weight: Array | None = None, bins: int = BINS) -> tuple[Array, Array, Array]:
    """Sums over the rows of each of `bins` intervals: weights, probabilities, labels; float64[bins] each.

    `score[rows]` are log-odds, `label[rows]` 0 and 1. Intervals hold equal shares of the rows in the order of their
    scores. Rows of equal scores are in one interval, that of their middle: floor(bins (before + size / 2) / rows).
    """
    weight = np.ones(len(score)) if weight is None else np.asarray(weight, np.float64)
    order = np.argsort(score, kind="stable")
    ordered = np.asarray(score)[order]
    ends = np.r_[np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, len(ordered)]
    upto = np.cumsum(weight[order])
    below = np.r_[0.0, upto[ends[:-1] - 1]]
    middle = (below + upto[ends - 1]) / 2
    place = np.minimum((bins * middle / upto[-1]).astype(np.int64), bins - 1)
    which = np.empty(len(score), np.int64)
    which[order] = np.repeat(place, np.diff(np.r_[0, ends]))
    predicted = probability(score)
    rows, said, seen = (np.bincount(which, v * weight, bins) for v in (np.ones(len(score)), predicted, label))
    return rows, said, seen


def curve(rows: Array, said: Array, seen: Array) -> list[dict[str, float]]:
    """The reliability curve of `bin_sums`: of each interval that has rows the mean probability, the mean label and its
    rows."""
    return [
        {"probability": p / n, "label": y / n, "rows": n}
        for n, p, y in zip(rows.tolist(), said.tolist(), seen.tolist(), strict=True)
        if n
    ]


def reliability(score: Array, label: Array, weight: Array | None = None) -> dict[str, Any] | None:
    """The curve, `copc`, the sum of labels by that of probabilities, and `ece`, the expected calibration error.

    None where labels are not 0 and 1, or no row counts. Sources: those of the metrics of these names.
    """
    total = float(len(score) if weight is None else np.sum(weight))
    if not total or not are_zeros_and_ones(label):
        return None
    rows, said, seen = bin_sums(score, label, weight)
    clicks = float(said.sum())
    return {
        "copc": float(seen.sum()) / clicks if clicks else None,
        "ece": float(np.abs(seen - said).sum()) / total,
        "curve": curve(rows, said, seen),
    }
