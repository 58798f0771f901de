"""Labeled rows: how well does the score tell clicks from the rest."""

from functools import partial
from typing import Annotated

import numpy as np

from fmlab.contracts import Task, Training
from fmlab.data import Array, Dataset
from fmlab.data.split import PARTS, TEST, TRAIN, VALIDATION
from fmlab.errors import DataError
from fmlab.evaluation import ScoredRows, selecting_metric, with_monitor
from fmlab.plugin.option import Range
from fmlab_protocols._described import GIVEN, drawn, of_parts
from fmlab_protocols._given_or_random import is_given, parts, without_copies
from fmlab_protocols._labels import classed, with_step
from fmlab_protocols._options import Metrics, MinLabel, Monitor, OnSharedRow, RowSplit, Seed, TestRows, ValidationRows
from fmlab_protocols._row_groups import group_of, names_of


class Ctr(Task):
    """Rows labeled 0 and 1, split at random 80/10/10 or as the data come; AUC and log loss.

    Paper: Sun et al., FM2: Field-matrixed Factorization Machines for Recommender Systems, WWW 2021

    With `max_negative` rows whose label is above it and below `min_label` are in no part: `min_label=4 max_negative=2`
    leaves out the stars of 3.

    Labels -1 and 1 are read as 0 and 1; `min_label` makes classes of others (1 where label >= `min_label`), null takes
    the data set's own rule.
    `split=auto` takes the split that the data come with, if they do; judged rows that copy rows of an earlier part of
    it are refused, `on_leak=drop` leaves them out, `on_leak=allow` judges them. Events that repeat in the test as often
    as they do within training are no copies, and are counted. `validation` and `test` are shares (fractions) or rows
    (whole numbers). Log loss selects, as in LorentzFM. `seed` is the split's.

    With `negative_rate` below 1 that share of the training rows with label 0 is trained on, drawn by `seed`; the log of
    it is added to the log-odds, so that probabilities are those of all rows.

    Metrics by group (`gauc`) see the groups of `data.group`, or those of `group`: user, item, or a field of one
    category a row. Of several targets, each is judged: `auc.click`, `auc.buy`, and `auc` is their mean.
    """

    defaults = {"loss": "bce", "batch_size": 4096}

    def __init__(
        self,
        dataset: Dataset,
        *,
        min_label: MinLabel = None,
        max_negative: Annotated[
            float | None,
            "highest label of a negative; null keeps rows above it that are no positives",
        ] = None,
        split: RowSplit = "auto",
        on_leak: OnSharedRow = "error",
        validation: ValidationRows = 0.1,
        test: TestRows = 0.1,
        seed: Seed = 0,
        group: Annotated[str, "groups that metrics such as gauc see; auto is those of the data"] = "auto",
        negative_rate: Annotated[
            float, Range(0, 1, open_low=True), "share of the rows with label 0 that are kept in training"
        ] = 1.0,
        metrics: Metrics = ("auc", "logloss"),
        monitor: Monitor = "logloss",
    ) -> None:
        """Raises DataError when labels are no classes, and when a part is empty or has one class only."""
        data = classed(dataset, min_label)
        decided = None if max_negative is None else _decided(dataset, data, max_negative)
        part = parts(data, split, validation, test, seed, decided)
        if decided is not None:
            data = with_step(
                data, f"labels above {max_negative:g} that are not 1, in no part: {(~decided).sum():,} rows"
            )
        if is_given(dataset, split):
            data, part = without_copies(data, part, on_leak)
        _refuse_one_class(data, part)
        names = with_monitor(metrics, monitor)
        evaluator = partial(
            ScoredRows, data, metrics=names, group=group_of(data, group), group_names=names_of(data, group)
        )
        rows = _with_sampled_negatives(data, np.flatnonzero(part == TRAIN), negative_rate, seed)
        held = [np.flatnonzero(part == where) for where in (VALIDATION, TEST)]
        negatives = (
            {} if negative_rate == 1 else {"training": f"{negative_rate:g} of the rows with label 0, drawn by the seed"}
        )
        super().__init__(
            dataset=data,
            training=Training(rows, negative_rate=negative_rate),
            validation=evaluator(rows=held[0]),
            test=evaluator(rows=held[1]),
            monitor=monitor,
            maximize=selecting_metric(monitor, tuple(data.targets)).maximize,
            described={
                "split": GIVEN if is_given(dataset, split) else drawn(validation, test, seed),
                "rows": of_parts([rows, *held]),
                "judged": "labeled rows",
                **negatives,
            },
        )


def _decided(dataset: Dataset, data: Dataset, max_negative: float) -> Array:
    """Which rows are positives, or have a label of `max_negative` at most; raises DataError for several targets."""
    if dataset.label is None or data.label is None or data.targets:
        raise DataError("protocol.max_negative is of one label: rows have none, or several targets")
    return (np.asarray(data.label) > 0) | (np.asarray(dataset.label) <= max_negative)


def _with_sampled_negatives(data: Dataset, rows: Array, rate: float, seed: int) -> Array:
    """Rows of label 1, and a random `rate` of the others; raises DataError for several targets."""
    if rate == 1:
        return rows
    if data.targets:
        raise DataError("protocol.negative_rate is of one label: with several targets a row may be positive for some")
    rng = np.random.default_rng([seed, 1])
    drawn = rng.random(len(rows)) < rate
    kept = rows[drawn | (np.asarray(data.label)[rows] > 0)]
    if (np.asarray(data.label)[kept] > 0).all():
        raise DataError(f"protocol.negative_rate={rate:g} leaves no training row with label 0")
    return kept


def _refuse_one_class(data: Dataset, part: Array) -> None:
    rows = np.bincount(part, minlength=3)[:3]
    assert data.label is not None
    for name, label in (data.targets or {"": data.label}).items():
        _refuse_one_class_of(rows, np.bincount(part, label, minlength=3)[:3].astype(np.int64), name)


def _refuse_one_class_of(rows: Array, ones: Array, name: str) -> None:
    if ((ones == 0) | (ones == rows)).any():
        got = ", ".join(f"{where} {p:,} of {n:,}" for where, p, n in zip(PARTS, ones, rows, strict=True))
        target = f" of {name}" if name else ""
        raise DataError(
            f"every part needs rows of both classes, got labels 1{target}: {got}; with few rows, larger shares for "
            "protocol.validation and protocol.test or another protocol.seed may do"
        )
