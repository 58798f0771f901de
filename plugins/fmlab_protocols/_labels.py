"""What labels mean, as the protocols need to know it."""

import numpy as np

from fmlab.data import Array, Dataset
from fmlab.errors import DataError


def is_binary(label: Array | None) -> bool:
    """Whether labels are 0 and 1, or -1 and 1, with both present: rows then hold their own negatives."""
    if label is None or not len(label):
        return False
    label = np.asarray(label)
    low, high = label.min(), label.max()
    return bool(high == 1 and low in (0, -1) and ((label == low) | (label == high)).all())


def least_positive(dataset: Dataset, min_label: float | None) -> float | None:
    """The least label of a positive: as asked, or 1 where labels are binary, or None: every row is positive."""
    return 1.0 if min_label is None and is_binary(dataset.label) else min_label


def classes(dataset: Dataset, min_label: float | None) -> Array:
    """Labels as 0 and 1 (float32); raises DataError if they are neither 0/1 nor -1/1 and no threshold is given."""
    if dataset.label is None:
        raise DataError(f"ctr needs rows labelled 0 and 1; {dataset.name!r} has no labels: all its rows are positives")
    label = np.asarray(dataset.label)
    if min_label is not None:
        return (label >= min_label).astype(np.float32)
    if is_binary(label):
        return (label > 0).astype(np.float32)
    values = np.unique(label)
    shown = ", ".join(f"{v:g}" for v in values[:8]) + (", ..." if len(values) > 8 else "")
    raise DataError(f"ctr needs labels 0 and 1 (or -1 and 1), got {shown}; set min_label to say what counts as 1")
