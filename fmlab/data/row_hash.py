"""One number for the values that a row has in several columns."""

from collections.abc import Iterable

import numpy as np

from fmlab.data.schema import Array


def row_hash(columns: Iterable[Array], rows: int) -> Array:
    """uint64[rows], equal for equal rows of `columns[rows]` and else different but for a chance of 2^-64.

    It is the same on every machine. Numbers are compared as float64, all else as int64.
    """
    mixed = np.zeros(rows, np.uint64)
    for column in columns:
        exact = column.astype(np.float64) + 0.0 if column.dtype.kind == "f" else column.astype(np.int64)
        mixed = (mixed ^ exact.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(32)
    return mixed
