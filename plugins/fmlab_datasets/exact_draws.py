"""Random draws that are the same bits on every machine: integer arithmetic on the words of a counter-based generator.

Floating-point logarithms, matrix products and partial sorts differ in their last bits, or in the order of equal keys,
between processors and libraries, and one such bit changes which row is drawn. Here all decisions are made on integers;
what is computed in floating point uses only the operations that IEEE 754 rounds correctly (+, -, *, /, square root).
"""

from collections.abc import Sequence

import numpy as np

from fmlab.data import Array

UNIT = 1 << 32  # logarithms are whole multiples of 1 / UNIT
_NODES, _BITS = 1 << 12, 40  # of the table, and of the place between two nodes
# ln of 1/2 ... 1 at equal distances. No value lies so near to the middle of two integers that a logarithm which is off
# by 50 units in the last place would round to the other one, see tests/data/test_synthetic.py.
_TABLE = np.rint(np.log(0.5 + np.arange(_NODES + 1) / (2 * _NODES)) * UNIT).astype(np.int64)
_LN2 = -int(_TABLE[0])


def logarithm(numbers: Array) -> Array:
    """Natural logarithms of int64 numbers from 1 to 2^53 - 1, as multiples of 1 / `UNIT`; the error is below 1e-8."""
    mantissa, exponent = np.frexp(numbers.astype(np.float64))
    whole = (mantissa * (1 << 53)).astype(np.int64)  # exact: from 2^52 to 2^53 - 1
    node, rest = (whole >> _BITS) - _NODES, whole & ((1 << _BITS) - 1)
    return _TABLE[node] + ((_TABLE[node + 1] - _TABLE[node]) * rest >> _BITS) + exponent.astype(np.int64) * _LN2


class ExactDraws:
    """Draws from one seed, one after the other."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.Philox(seed)

    def words(self, *shape: int) -> Array:
        """uint64 of all 64 bits."""
        return self._generator.random_raw(int(np.prod(shape, dtype=np.int64))).reshape(shape)

    def exponential(self, *shape: int) -> Array:
        """Exponential variates of mean 1, int64 multiples of 1 / `UNIT`, at least one of them."""
        uniform = (self.words(*shape) >> np.uint64(11)).astype(np.int64)
        return np.maximum(53 * _LN2 - logarithm(np.maximum(uniform, 1)), 1)

    def gumbel(self, *shape: int) -> Array:
        """Standard Gumbel variates, int64 multiples of 1 / `UNIT`."""
        return 32 * _LN2 - logarithm(self.exponential(*shape))

    def normal(self, *shape: int) -> Array:
        """Nearly normal variates of mean 0 and deviation 1, int64 multiples of 2^-16: sums of 12 uniform ones."""
        words = self.words(*shape, 3).view(np.uint16).astype(np.int64)  # 12 numbers of 16 bits
        return words.sum(-1) - 12 * (1 << 15)

    def choice(self, weights: Sequence[float] | Array, count: int) -> Array:
        """int64[count] places, drawn with chances proportional to the weights."""
        sums = np.cumsum(np.asarray(weights, np.float64))  # one addition after the other
        ends = np.rint(sums / sums[-1] * (1 << 32)).astype(np.int64)
        return np.searchsorted(ends[:-1], (self.words(count) >> np.uint64(32)).astype(np.int64), side="right")

    def orders(self, rows: int, columns: int) -> Array:
        """int64[rows, columns]: a random order of the columns for each row."""
        return self.words(rows, columns).argsort(1, kind="stable")
