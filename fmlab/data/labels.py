"""Labels of rows: whether they are classes, and probabilities of log-odds."""

import numpy as np

from fmlab.data.schema import Array


def is_binary(label: Array | None) -> bool:
    """Whether labels are 0 and 1, or -1 and 1, with both present: rows then hold their own negatives."""
    if label is None or not len(label):
        return False
    label = np.asarray(label)
    low, high = label.min(), label.max()
    return bool(high == 1 and low in (0, -1) and ((label == low) | (label == high)).all())


def are_zeros_and_ones(label: Array) -> bool:
    """Whether all labels are 0 or 1; both need not be there."""
    return bool(((label == 0) | (label == 1)).all())


def probability(log_odds: Array) -> Array:
    """The sigmoid float64 of log-odds of any size: it neither overflows nor loses small probabilities."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(log_odds, np.float64)))
