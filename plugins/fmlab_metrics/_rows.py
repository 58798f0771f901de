"""Functions that the metrics of scored rows share: checks of scores and labels, weighted means, contributions."""

import numpy as np

from fmlab.data import Array
from fmlab.data.labels import are_zeros_and_ones
from fmlab.errors import DataError


def finite(score: Array) -> Array:
    """Float64 scores; raises DataError where one is not finite."""
    score = np.asarray(score, np.float64)
    wrong = int((~np.isfinite(score)).sum())
    if wrong:
        raise DataError(f"scores must be finite, got {wrong:,} of {score.size:,} that are not")
    return score


def weighted_mean(values: Array, weight: Array | None = None) -> tuple[float, Array]:
    """The mean of `values[rows]`, and contributions of the rows with that mean, right to first order where they have
    weights; raises DataError without rows."""
    if not values.size:
        raise DataError("a mean needs at least one row, got none")
    if weight is None:
        return float(values.mean()), values
    total = float(weight.sum())
    if not total:
        raise DataError("a weighted mean needs a row with a weight above 0, got none")
    mean = float((values * weight).sum() / total)
    return mean, mean + (values - mean) * weight * (len(weight) / total)


def ratio(above: Array, below: Array, weight: Array | None = None) -> tuple[float, Array]:
    """Sum of `above[rows]` by sum of `below[rows]`, and contributions with that mean that are right to first order."""
    weight = np.ones(len(above)) if weight is None else weight
    whole = float((below * weight).sum())
    value = float((above * weight).sum()) / whole
    return value, value + (above - value * below) * weight * (len(weight) / whole)


def is_positive(label: Array, metric: str) -> Array:
    """Which labels are 1; raises DataError for labels other than 0 and 1, or -1 and 1."""
    label = np.asarray(label)
    positive = label == 1
    if not (positive | (label == 0)).all() and not (positive | (label == -1)).all():
        raise DataError(f"{metric} needs labels 0 and 1, or -1 and 1, got {some(label)}")
    return positive


def zero_one(label: Array, metric: str) -> Array:
    """Float64 labels; raises DataError for others than 0 and 1."""
    label = np.asarray(label, np.float64)
    if not are_zeros_and_ones(label):
        raise DataError(f"{metric} needs labels 0 and 1, got {some(label)}")
    return label


def both_classes(positive: Array, metric: str, weight: Array | None = None) -> Array:
    """Float64 weights of the rows, 1 where there are none; raises DataError unless both classes have some weight."""
    each = np.ones(len(positive)) if weight is None else np.asarray(weight, np.float64)
    of_positives = float(each[positive].sum())
    if not of_positives or not each[~positive].sum():
        counted = "" if weight is None else " of rows with a weight"
        kind = "positive" if of_positives else "negative"
        raise DataError(f"{metric} is undefined on one class: all {positive.size:,} labels{counted} are {kind}")
    return each


def log_losses(score: Array, label: Array) -> Array:
    """log(1 + exp(-s)) for label 1, log(1 + exp(s)) for label 0."""
    return np.logaddexp(0.0, np.where(label > 0, -score, score))


def some(label: Array) -> str:
    """The first distinct labels, for messages."""
    values = np.unique(label)
    return ", ".join(f"{v:g}" for v in values[:5]) + (", ..." if len(values) > 5 else "")


def tie_ends(*sorted_keys: Array) -> Array:
    """Ends of the runs of rows that are equal in all keys, of rows sorted by them."""
    change = np.zeros(len(sorted_keys[0]) - 1, bool)
    for key in sorted_keys:
        change |= key[1:] != key[:-1]
    return np.flatnonzero(np.r_[change, True]) + 1
