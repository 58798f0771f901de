"""Fits crosses and target statistics (target encoding) of a data set on its training rows, and what it ignores."""

import logging
from collections.abc import Sequence
from typing import Literal

import numpy as np

from fmlab.data.dataset import Dataset, Table
from fmlab.data.derived_fields import (
    SIGN,
    VALUES,
    Cross,
    DerivedFields,
    Form,
    LabelRange,
    Statistic,
    combined,
    distinct,
    folds,
    group_of,
    seen_in,
)
from fmlab.data.derived_groups import Group, Groups, training_labels
from fmlab.data.kept_fields import repeating_fields
from fmlab.data.schema import Array, Schema

log = logging.getLogger("fmlab")
Wanted = Literal["auto"] | Sequence[str]
CROSSES = 4  # crosses that `auto` makes, of the best pairs


def fit(
    data: Dataset,
    training: Array,
    crosses: Wanted,
    statistics: Wanted,
    form: Form,
    chosen: Groups | None = None,
    ignored: Wanted = (),
) -> DerivedFields:
    """Fit the fields that are wanted on the training rows (int64) of a labeled data set.

    Groups are named, as in `user*item`, or `auto`, for those that `choose_groups` gave. Where none is named and none
    gains, there are no fields. Fields that are `ignored` are named, or `auto`, for `repeating_fields`. Raises DataError
    for a wrong group or field.
    """
    rows, label, chosen = data.row_ids(training), training_labels(data, training), chosen or {}
    schema = data.schema
    wanted = chosen.get(2, ())[:CROSSES] if crosses == "auto" else [group_of(g, schema) for g in crosses]
    described = [g for n in sorted(chosen) for g in chosen[n]] if statistics == "auto" else []
    described = described or [group_of(g, schema) for g in statistics if statistics != "auto"]
    for what, asked, found in (("crosses", crosses, wanted), ("target_statistics", statistics, described)):
        if asked == "auto" and not found:
            log.info(f"{data.name}: {what}=auto makes no field, as no group of categorical fields gains")
    fold, scale = folds(len(label)), LabelRange.of(label) if described else None
    made = DerivedFields(
        schema,
        tuple(Cross(group, _repeated(combined(schema, rows, group))) for group in wanted),
        tuple(_statistic(schema, rows, label, fold, scale, group, form) for group in described if scale),
        form,
        scale,
        repeating_fields(data, training) if ignored == "auto" else tuple(ignored),
    )
    if ignored == "auto" and not made.ignored:
        log.info(f"{data.name}: ignored_fields=auto leaves no field out, as none nearly repeats another one")
    elif made.kept.ignored:  # names of no field are refused here
        log.info(f"{data.name}: the model does not get {', '.join(made.ignored)}")
    for what, found in (("crosses", wanted), ("target statistics", described)):
        if found:
            log.info(f"{data.name}: {what} of {', '.join(map(SIGN.join, found))}")
    if schema.auxiliary and (made.adds or made.ignored):
        names = ", ".join(f.name for f in schema.auxiliary)
        log.warning(
            f"{data.name}: beside crosses, statistics or ignored fields no model gets vectors or sequences: {names}"
        )
    return made


def _repeated(key: Array) -> Array:
    kinds, count = np.unique(key, return_counts=True)
    return kinds[count > 1]


def _statistic(
    schema: Schema, rows: Table, label: Array, fold: Array, scale: LabelRange, group: Group, form: Form
) -> Statistic:
    key = combined(schema, rows, group)
    kinds, place = distinct(key)
    edges = np.zeros(0, np.float32)
    if form == "bins":
        count, total = seen_in(place, len(kinds), label, fold)
        mean = scale.smoothed(count, total)[count > 0].astype(np.float32)
        edges = np.unique(np.quantile(mean, np.arange(1, VALUES) / VALUES)) if len(mean) else edges
    count = np.bincount(place, minlength=len(kinds)).astype(np.uint32)
    return Statistic(group, kinds, count, np.bincount(place, label, len(kinds)), edges.astype(np.float32))
