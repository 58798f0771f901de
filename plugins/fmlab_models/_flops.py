"""Floating-point operations of a prediction, as FmFM counts them."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal

Family = Literal["lr", "poly2", "fm", "ffm", "fwfm", "fvfm", "fmfm"]


def flops(model: Family, dims: Sequence[int], *, cached: bool = False) -> int:
    """Multiplications and additions for one row of one-valued fields with vectors of sizes `dims`.

    Source: Sun et al., FM², WWW 2021, table 4, whose estimates these formulas give: an inner product of width k takes
    2k, adding a pair to the score 1, and the linear part 2 a field, which the paper leaves out for FM. `cached`: the
    vectors `v_i M` of FwFM, FvFM and FmFM are looked up, toward the smaller of the two sizes (sections 4.2, 4.3).
    """
    n = len(dims)
    if model == "fm":
        return 3 * dims[0] * (n + 1)
    pairs = sum(_PAIR["ffm" if cached and model in _MATRICES else model](a, b) for a, b in combinations(dims, 2))
    return 2 * n + pairs


_MATRICES = ("fwfm", "fvfm", "fmfm")
_PAIR: dict[str, Callable[[int, int], int]] = {
    "lr": lambda a, b: 0,
    "poly2": lambda a, b: 2,
    "ffm": lambda a, b: 2 * min(a, b) + 1,
    "fwfm": lambda a, b: 2 * a + 2,
    "fvfm": lambda a, b: 3 * a + 1,
    "fmfm": lambda a, b: 2 * a * b + 2 * min(a, b) + 1,
}
