"""What becomes of texts before they are features: functions of the distinct texts of a column.

Data sets prepare with them, and name them in `Dataset.inputs`, by which rows of later go through the same.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fmlab.data.dataset import FieldEncoding
from fmlab.data.encoding.number_parsing import parse_numbers
from fmlab.data.encoding.number_texts import hint
from fmlab.data.encoding.times import moment
from fmlab.data.schema import Array
from fmlab.errors import DataError, choices

SHOWN = 3
Transform = Callable[[Any], Any]


def transform_of(given: FieldEncoding) -> Transform | None:
    """The function that `given` names, if it names one; raises DataError for a name of another version."""
    if not given.transform:
        return None
    made: dict[str, Callable[[], Transform]] = {
        "log_squared": lambda: log_squared(given.column, given.decimal, given.thousands),
        "binned": lambda: binned(given.column, np.array(given.edges), given.decimal, given.thousands),
        "hashed": lambda: bucket(given.buckets),
        "hour": lambda: hours(given.time_format),
        "weekday": lambda: weekdays(given.time_format),
    }
    name = "log_squared" if given.transform == "log2" else given.transform  # its name in older run folders
    if name not in made:
        raise DataError(f"no transform {name!r} of column {given.column!r}; {choices(name, made)}")
    return made[name]()


def bucket(buckets: int) -> Transform:
    """The CRC-32 of the text's utf-8, modulo `buckets`: the same on every machine."""

    def transform(texts: Any) -> list[str]:
        return [str(crc32(t.encode()) % buckets) for t in texts.to_pylist()]

    return transform


def log_squared(name: str, decimal: str = ".", thousands: str = "") -> Transform:
    """floor(log(x)^2) of numbers above 2; others get a mark, or the logarithm of 3 would be taken for the number 1.

    The transform of the winners of the Criteo contest (Juan et al., Field-aware Factorization Machines, RecSys 2016).
    """

    def transform(texts: Any) -> Any:
        values = _finite(name, texts, decimal, thousands)
        logs = np.floor(np.log(np.maximum(values, 2.0)) ** 2).astype(np.int64)
        marked = pc.binary_join_element_wise("=", texts, "")
        return pc.if_else(pa.array(values > 2), pa.array(logs).cast(pa.string()), marked)

    return transform


def binned(name: str, edges: Array, decimal: str = ".", thousands: str = "") -> Transform:
    """The interval `[low, high)` between two of the ascending `edges` that a number lies in; the ends are open."""
    ends = ["", *(repr(float(edge)).removesuffix(".0") for edge in edges), ""]  # all digits: labels are keys
    labels = np.array([f"[{low}, {high})" for low, high in pairwise(ends)], object)

    def transform(texts: Any) -> Any:
        places = np.searchsorted(edges, _finite(name, texts, decimal, thousands), side="right")
        return labels[places].tolist()

    return transform


def quantiles(name: str, times: Mapping[str, int], bins: int, decimal: str = ".", thousands: str = "") -> Array:
    """Edges of at most `bins` intervals that hold equally many of the numbers, each text counted so many times.

    Raises DataError if there is no number.
    """
    texts = pa.array(list(times), pa.string())
    values, count = _finite(name, texts, decimal, thousands), np.array(list(times.values()), np.int64)
    if not count.sum():
        raise DataError(f"intervals of column {name!r} need numbers in the training rows, there are none")
    order = np.argsort(values, kind="stable")
    before = np.cumsum(count[order]) - count[order]
    wanted = np.arange(1, bins) * count.sum() / bins
    places = np.searchsorted(before, wanted, side="left")
    edges: Array = np.unique(values[order][np.minimum(places, len(order) - 1)])
    return edges[edges > values.min()]


def hours(times: str = "") -> Transform:
    """Hour of the day, as written; of numbers, and of times in the form `times` (`fmlab.data.encoding.times`), in
    UTC."""

    def transform(texts: Any) -> list[str]:
        return [str(moment(t, times).hour) for t in texts.to_pylist()]

    return transform


def weekdays(times: str = "") -> Transform:
    """Day of the week, Monday is 1; as `hours`."""

    def transform(texts: Any) -> list[str]:
        return [str(moment(t, times).isoweekday()) for t in texts.to_pylist()]

    return transform


def _finite(name: str, texts: Any, decimal: str, thousands: str) -> Array:
    column = pa.DictionaryArray.from_arrays(pa.array(np.arange(len(texts), dtype=np.int32)), texts)
    values, bad = parse_numbers(column, decimal, thousands)
    if bad:
        shown = ", ".join(map(repr, bad[:SHOWN]))
        advice = hint(bad, decimal, thousands)
        raise DataError(f"column {name!r} must hold finite numbers, {len(bad)} values are none: {shown}{advice}")
    return values
