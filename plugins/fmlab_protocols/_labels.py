"""What labels mean, as the protocols need to know it."""

import logging
from dataclasses import replace

import numpy as np

from fmlab.data import Dataset, PreparationStep
from fmlab.data.labels import is_binary
from fmlab.errors import DataError

log = logging.getLogger(__name__)


def least_positive(dataset: Dataset, min_label: float | None) -> float | None:
    """The least label of a positive: as asked, or 1 where labels are binary, or None: every row is positive.

    Without a threshold labels above 0 are positives, which is said: what a user rated -1 or 0 is not liked. Raises
    DataError where no label is above 0.
    """
    if min_label is not None or dataset.label is None:
        return min_label
    label = np.asarray(dataset.label)
    if is_binary(label):
        return 1.0
    low, high = float(label.min()), float(label.max())
    if low > 0:
        span = f"{low:g} to {high:g}" if low < high else f"all {low:g}"
        log.info("labels are %s: every row is a positive; protocol.min_label=<number> keeps those from it on", span)
        return None
    rule = "a positive is a row with a label above 0, unless protocol.min_label=<number> says from where on"
    if high <= 0:
        span = f"from {low:g} to {high:g}" if low < high else f"all {low:g}"
        raise DataError(f"{rule}; the labels of {dataset.name!r} are {span}")
    above = label[label > 0]
    counts = f"{len(above):,} of {len(label):,} rows, labels are from {low:g} to {high:g}"
    log.warning("%s: %s", rule, counts)
    return float(above.min())


def classed(dataset: Dataset, min_label: float | None) -> Dataset:
    """With labels 0 and 1 (float32), and a step that says so where a threshold made them.

    The threshold is the one asked for, or else that of the data set's own rule; without either labels must be 0/1 or
    -1/1. Raises DataError otherwise.
    """
    if dataset.label is None:
        raise DataError(_no_labels(dataset))
    if dataset.targets:
        return _classed_targets(dataset, min_label)
    label = np.asarray(dataset.label)
    least = dataset.rule.min_label if min_label is None else min_label
    if least is not None:
        ones = label >= least
        name = f"label 1 where it was >= {least:g}: {int(ones.sum()):,} rows"
        return with_step(replace(dataset, label=ones.astype(np.float32)), name)
    if is_binary(label):
        data = replace(dataset, label=(label > 0).astype(np.float32))
        return data if label.min() == 0 else with_step(data, "labels -1 and 1 are read as 0 and 1")
    values = np.unique(label)
    shown = ", ".join(f"{v:g}" for v in values[:8]) + (", ..." if len(values) > 8 else "")
    rule = "ctr needs labels 0 and 1 (or -1 and 1)"
    raise DataError(
        f"{rule}, got {shown}; protocol.min_label=<number> says from where on a label counts as 1, "
        "protocol=rating protocol.negatives=0 predicts the numbers"
    )


def _classed_targets(dataset: Dataset, min_label: float | None) -> Dataset:
    """The same for each of several targets."""
    steps, targets = list(dataset.steps), {}
    for name, target in dataset.targets.items():
        try:
            one = classed(replace(dataset, label=target, targets={}, steps=()), min_label)
        except DataError as error:
            raise DataError(f"target {name}: {error}") from error
        targets[name] = np.asarray(one.label)
        steps += [replace(step, name=f"{name}: {step.name}") for step in one.steps]
    return replace(dataset, label=None, targets=targets, steps=tuple(steps))


def with_step(data: Dataset, name: str) -> Dataset:
    """With a step of this name, which counts what there is."""
    schema = data.schema
    step = PreparationStep(name, data.rows, schema.n_users, schema.n_items, schema.n_features)
    return replace(data, steps=(*data.steps, step))


def _no_labels(dataset: Dataset) -> str:
    rule = f"ctr needs rows labeled 0 and 1, {dataset.name!r} has no labels: all its rows are positives"
    if dataset.item is not None:
        return f"{rule}; add protocol=full_ranking, or data.label=COLUMN if a column holds labels"
    return f"{rule}; add data.label=COLUMN, or data.user=COLUMN data.item=COLUMN protocol=full_ranking"
