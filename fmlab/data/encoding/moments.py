"""Means and deviations of columns of numbers that are too long for memory, and how wide numbers must be kept."""

from typing import Any

import numpy as np

from fmlab.data.schema import Array

NARROW = 1e-5  # of the deviation: float32 may move a number by so much
ROWS = 1 << 18


class Moments:
    """Mean and deviation of columns of numbers that come in blocks, NaN where there is none.

    Blocks are centered before they are squared, and merged by the rule of Chan, Golub and LeVeque (1979): a sum of
    squares would lose the deviation of numbers that are far from 0, such as times.
    """

    def __init__(self, columns: int) -> None:
        """Nothing seen yet."""
        self._count, self._away, self._squares = (np.zeros(columns) for _ in range(3))
        self._origin = np.full(columns, np.nan)  # a number of each column: means are kept as distances from it
        self._low, self._high = np.full(columns, np.inf), np.full(columns, -np.inf)

    def add(self, block: Array) -> None:
        """Take float64[rows, columns]."""
        if not block.size:
            return
        there = ~np.isnan(block)
        count = there.sum(0)
        low = np.where(there, block, np.inf).min(0)
        self._low, self._high = (
            np.minimum(self._low, low),
            np.maximum(self._high, np.where(there, block, -np.inf).max(0)),
        )
        self._origin = np.where(np.isnan(self._origin) & (count > 0), low, self._origin)
        away = np.where(there, block - self._origin, 0)
        mean = away.sum(0) / np.maximum(count, 1)
        apart, both = np.where(count > 0, mean - self._away, 0), np.maximum(self._count + count, 1)
        with np.errstate(over="ignore", invalid="ignore"):  # the deviation is then infinite
            self._squares += np.where(there, (away - mean) ** 2, 0).sum(0) + apart**2 * (self._count * count / both)
        self._away += apart * count / both
        self._count += count

    @property
    def mean(self) -> Array:
        """Mean of each column, 0 of one without numbers."""
        return np.where(self._count > 0, self._origin + self._away, 0)

    @property
    def varied(self) -> Array:
        """Which columns hold more than one number."""
        return (self._high > self._low) & (self.deviation > 0)

    @property
    def deviation(self) -> Array:
        """Standard deviation of each column."""
        return np.sqrt(self._squares / np.maximum(self._count, 1))


def float_kind(numbers: Array) -> type[np.floating[Any]]:
    """float32, or float64 where that would move one of `numbers[n]` by more than `NARROW` of their deviation."""
    if numbers.dtype != np.float64:
        return np.float32
    moments, moved = Moments(1), 0.0
    for start in range(0, len(numbers), ROWS):
        part = np.asarray(numbers[start : start + ROWS])
        moments.add(part[:, None])
        with np.errstate(over="ignore"):
            moved = max(moved, float(np.abs(part.astype(np.float32) - part).max(initial=0)))
    deviation = float(moments.deviation[0])
    return np.float32 if np.isfinite(deviation) and moved <= NARROW * deviation else np.float64
