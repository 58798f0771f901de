"""Ranks of relevant items among all items, by counting instead of sorting, and the first k items of lists.

With M items, of which those that are not ranked are set to -inf,

    sum over items of sign(score - s) = #above - (M - #above - #equal)   =>   rank = 1 + (M + sum of signs) / 2

once the item itself is among those at -inf; a half less where it is among the items at its own score.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fmlab.data.schema import Array

Ties = Literal["expected", "worst", "best", "index"]
"""Rank of an item among those of its score: the mean of the places they take, the last, the first, or by number."""

_EXACT = 1 << 24  # sums of signs up to this number are exact in float32


def rank_among(
    others: Tensor, own: Tensor, ties: Ties = "expected", *, itself: bool = False, before: Tensor | None = None
) -> Tensor:
    """Rank float64[n] of `own[n, 1]` among `others[n, m]`, which are overwritten.

    `itself`: whether the item is one of the others. `before[n or 1, m]`: which of them have a lower number than the
    item, for `ties="index"`.
    """
    if ties == "expected":
        n = others.shape[1]
        signs = others.sub_(own).sign_().sum(1, dtype=torch.float64 if n > _EXACT else torch.float32)
        return 1 + (n + signs.double()) / 2 - itself / 2
    above = (others > own).sum(1)
    if ties == "best":
        return (1 + above).double()
    equal = others == own
    if ties == "worst":
        return (1 - itself + above + equal.sum(1)).double()
    assert before is not None
    return (1 + above + (equal & before).sum(1)).double()


def first_items(scores: Tensor, k: int) -> Tensor:
    """The `k` best of `scores[n, items]`, best first, equal ones by number; -1 for those at -inf: int64[n, k]."""
    width = scores.shape[1]
    values, found = scores.topk(min(k, width), dim=1)
    last = values[:, -1:]
    # Where the last place is shared, topk takes any of those that share it; elsewhere only the order is settled.
    shared = ((scores >= last).sum(1) > found.shape[1]) & (last.squeeze(1) > -torch.inf)
    by_number = found.argsort(dim=1)
    values, found = values.gather(1, by_number), found.gather(1, by_number)
    order = values.argsort(dim=1, descending=True, stable=True)
    values, found = values.gather(1, order), found.gather(1, order)
    if shared.any():
        exact = scores[shared].sort(dim=1, descending=True, stable=True)
        values[shared], found[shared] = exact.values[:, : found.shape[1]], exact.indices[:, : found.shape[1]]
    found.masked_fill_(values == -torch.inf, -1)
    return found if k <= width else torch.cat([found, found.new_full((len(found), k - width), -1)], 1)


def distinct_units(unit: Array) -> tuple[Array, Array | slice]:
    """The numbers of units, ascending, each once, and where they first stand; a single process has them so."""
    if (unit[1:] > unit[:-1]).all():
        return unit, slice(None)
    return np.unique(unit, return_index=True)
