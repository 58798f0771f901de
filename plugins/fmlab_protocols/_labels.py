"""What labels mean, as the protocols need to know it."""

from dataclasses import replace

import numpy as np

from fmlab.data import Array, Dataset, Step
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


def classed(dataset: Dataset, min_label: float | None) -> Dataset:
    """With labels 0 and 1 (float32), and a step that says so where a threshold made them.

    The threshold is the one asked for, or else that of the data set's own rule; without either labels must be 0/1 or
    -1/1. Raises DataError otherwise.
    """
    if dataset.label is None:
        raise DataError(_no_labels(dataset))
    label = np.asarray(dataset.label)
    least = dataset.rule.min_label if min_label is None else min_label
    if least is not None:
        ones = label >= least
        name = f"label 1 where it was >= {least:g}: {int(ones.sum()):,} rows"
        schema = dataset.schema
        step = Step(name, dataset.rows, schema.n_users, schema.n_items, schema.n_features)
        return replace(dataset, label=ones.astype(np.float32), steps=(*dataset.steps, step))
    if is_binary(label):
        return replace(dataset, label=(label > 0).astype(np.float32))
    values = np.unique(label)
    shown = ", ".join(f"{v:g}" for v in values[:8]) + (", ..." if len(values) > 8 else "")
    rule = "ctr needs labels 0 and 1 (or -1 and 1)"
    raise DataError(f"{rule}, got {shown}; protocol.min_label=<number> says from where on a label counts as 1")


def _no_labels(dataset: Dataset) -> str:
    rule = f"ctr needs rows labelled 0 and 1, {dataset.name!r} has no labels: all its rows are positives"
    if dataset.item is not None:
        return f"{rule}; add protocol=full_ranking, or data.label=COLUMN if a column holds labels"
    return f"{rule}; add data.label=COLUMN, or data.user=COLUMN data.item=COLUMN protocol=full_ranking"
