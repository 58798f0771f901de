"""Draws of negatives by weight, hashed random numbers, and `SamplingBatch`: the positives that a sampler draws for.

Draws are pure functions of (seed, epoch, row), as in `fmlab.data.negative_sampling`: they do not depend on the size or
order of batches, on the number of processes or on the device, and a resumed run needs no generator state.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fmlab.data.negative_sampling import _MIX1, _MIX2, UserItemSet, _as, _mix, _origin, _range, _where, _wrap

ATTEMPTS = 16
"""Draws of one negative before its user's unobserved items are enumerated."""


@dataclass(frozen=True)
class SamplingBatch:
    """The positives of a process's share of a batch, each of which gets negatives.

    `observed`: the training positives of all users, on the device of the rest. `user[B]`, `item[B]`, `row[B]` (int64):
    each positive, and its row in the data set. `pool[G]` (int64): the items of the global batch, of all processes.
    """

    observed: UserItemSet
    user: Tensor
    item: Tensor
    row: Tensor
    pool: Tensor


def random_numbers(row: Tensor, n: int, *, seed: int, epoch: int, attempt: int = 0) -> Tensor:
    """Float64 `[B, n]` in [0, 1) for `row[B]` (int64): hashes of (seed, epoch, row, place in the row, attempt)."""
    if row.device.type == "cpu":
        return torch.from_numpy(_numbers(np, _begin(row.numpy(), seed, epoch)[:, None], np.arange(n), attempt))
    places = torch.arange(n, device=row.device)
    return _numbers(torch, _begin(row, seed, epoch)[:, None], places, attempt)


def draw_weighted(
    observed: UserItemSet, cumulative: Tensor, user: Tensor, row: Tensor, n: int, *, seed: int, epoch: int
) -> Tensor:
    """`[B, n]` int64: for each positive, `n` items its user was not observed with, with replacement, by weight.

    `cumulative[n_items]` float64, on any device: sums of the weights, all above 0, of the items up to each. `user[B]`
    and `row[B]` are int64. Every user must have an unobserved item (`UserItemSet.check`).
    """
    xp: Any = np if row.device.type == "cpu" else torch
    sums = _as(xp, cumulative.to(row.device))
    who, rows = _as(xp, user), _as(xp, row)
    begin = _begin(rows, seed, epoch)
    drawn = _placed(xp, sums, _numbers(xp, begin[:, None], _range(xp, 0, n, rows), 0))
    flat = drawn.reshape(-1)
    left = _where(xp, observed._hits(xp, who[:, None], drawn).reshape(-1))
    for attempt in range(1, ATTEMPTS):
        if not len(left):
            break
        tried = _placed(xp, sums, _numbers(xp, begin[left // n], left % n, attempt))
        flat[left] = tried
        left = left[observed._hits(xp, who[left // n], tried) != 0]
    if len(left):
        chance = _numbers(xp, begin[left // n], left % n, ATTEMPTS)
        flat[left] = _enumerated(xp, observed, sums, who[left // n], chance)
    return torch.from_numpy(drawn) if xp is np else drawn


def _enumerated(xp: Any, observed: UserItemSet, sums: Any, user: Any, chance: Any) -> Any:
    """For each `user[m]` the unobserved item at `chance[m]` of the weights of all its unobserved items."""
    out, items = xp.empty_like(user), _range(xp, 0, observed.n_items, user)
    weight = xp.diff(sums, prepend=sums[:1] * 0)
    for who in xp.unique(user):
        mine = _where(xp, user == who)
        free = weight * (observed._hits(xp, who, items) == 0)
        out[mine] = _placed(xp, free.cumsum(0), chance[mine])
    return out


def _placed(xp: Any, sums: Any, chance: Any) -> Any:
    """The first item whose sum is above `chance` of the whole; chances below 1 stay below it as they are rounded."""
    return xp.searchsorted(sums, chance * sums[-1], side="right")


def _begin(row: Any, seed: int, epoch: int) -> Any:
    """Where the hashes of each row are counted from, apart from those of uniform draws."""
    return _mix(_origin(row, seed, epoch) + _wrap(_MIX2))


def _numbers(xp: Any, begin: Any, place: Any, attempt: int) -> Any:
    hashes = _mix(begin + (place + 1) * _wrap(_MIX1) + _wrap(attempt * 0x9E3779B97F4A7C15))
    return (hashes >> 10) * 2.0**-53
