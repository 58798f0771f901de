"""What becomes of texts before they are features: functions of the distinct texts of a column.

Data sets prepare with them, and name them in `Dataset.inputs`, by which rows of later go through the same.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fmlab.data import Array, Input
from fmlab.errors import DataError, choices
from fmlab.first_pass import FROM
from fmlab.vocabulary import numbers

SHOWN = 3
Transform = Callable[[Any], Any]


def transform_of(given: Input) -> Transform | None:
    """The function that `given` names, if it names one; raises DataError for a name of another version."""
    if not given.transform:
        return None
    made: dict[str, Callable[[], Transform]] = {
        "log2": lambda: log_squared(given.column, given.decimal),
        "binned": lambda: binned(given.column, np.array(given.edges), given.decimal),
        "hashed": lambda: bucket(given.buckets),
        "hour": lambda: hours,
        "weekday": lambda: weekdays,
    }
    if given.transform not in made:
        raise DataError(
            f"no transform {given.transform!r} of column {given.column!r}; {choices(given.transform, made)}"
        )
    return made[given.transform]()


def bucket(buckets: int) -> Transform:
    """The CRC-32 of the text's utf-8, modulo `buckets`: the same on every machine."""

    def transform(texts: Any) -> list[str]:
        return [str(crc32(t.encode()) % buckets) for t in texts.to_pylist()]

    return transform


def log_squared(name: str, decimal: str = ".") -> Transform:
    """floor(log(x)^2) of numbers above 2; others get a mark, or the logarithm of 3 would be taken for the number 1.

    The transform of the winners of the Criteo contest (Juan et al., Field-aware Factorization Machines, RecSys 2016).
    """

    def transform(texts: Any) -> Any:
        values = _finite(name, texts, decimal)
        logs = np.floor(np.log(np.maximum(values, 2.0)) ** 2).astype(np.int64)
        marked = pc.binary_join_element_wise("=", texts, "")
        return pc.if_else(pa.array(values > 2), pa.array(logs).cast(pa.string()), marked)

    return transform


def binned(name: str, edges: Array, decimal: str = ".") -> Transform:
    """The interval `[low, high)` between two of the ascending `edges` that a number lies in; the ends are open."""
    ends = ["", *(repr(float(edge)).removesuffix(".0") for edge in edges), ""]  # all digits: labels are keys
    labels = np.array([f"[{low}, {high})" for low, high in pairwise(ends)], object)

    def transform(texts: Any) -> Any:
        places = np.searchsorted(edges, _finite(name, texts, decimal), side="right")
        return labels[places].tolist()

    return transform


def quantiles(name: str, times: Mapping[str, int], bins: int, decimal: str = ".") -> Array:
    """Edges of at most `bins` intervals that hold equally many of the numbers, each text counted so many times.

    Raises DataError if there is no number.
    """
    texts = pa.array(list(times), pa.string())
    values, count = _finite(name, texts, decimal), np.array(list(times.values()), np.int64)
    if not count.sum():
        raise DataError(f"intervals of column {name!r} need numbers in the training rows, there are none")
    order = np.argsort(values, kind="stable")
    before = np.cumsum(count[order]) - count[order]
    wanted = np.arange(1, bins) * count.sum() / bins
    places = np.searchsorted(before, wanted, side="left")
    edges: Array = np.unique(values[order][np.minimum(places, len(order) - 1)])
    return edges[edges > values.min()]


def hours(texts: Any) -> list[str]:
    """Hour of the day, as written; of numbers (seconds and smaller units since 1970) in UTC."""
    return [str(_moment(t).hour) for t in texts.to_pylist()]


def weekdays(texts: Any) -> list[str]:
    """Day of the week, Monday is 1; as `hours`."""
    return [str(_moment(t).isoweekday()) for t in texts.to_pylist()]


def _moment(text: str) -> datetime:
    try:
        number = float(text)
    except ValueError:
        try:
            return datetime.fromisoformat(text)
        except ValueError as error:
            raise DataError(f"a time is a number since 1970 or ISO 8601, got {text!r}") from error
    try:
        return datetime.fromtimestamp(number / 1000 ** int(np.searchsorted(FROM, abs(number))), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise DataError(f"a time since 1970 must be a date of the calendar, got {text!r}") from error


def _finite(name: str, texts: Any, decimal: str) -> Array:
    column = pa.DictionaryArray.from_arrays(pa.array(np.arange(len(texts), dtype=np.int32)), texts)
    values, bad = numbers(column, decimal)
    if bad:
        shown = ", ".join(map(repr, bad[:SHOWN]))
        raise DataError(f"column {name!r} must hold finite numbers, {len(bad)} values are none: {shown}")
    return values
