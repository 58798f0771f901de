"""Negative sampling: draws of items that a user has not been observed with, uniform or by popularity.

A draw is a hash of (seed, epoch, row, draw, attempt), made without a random generator. It therefore does not depend on
the size or order of batches, on the number of processes or on the device, and a resumed run needs no generator state to
continue exactly.

Which items are rejected depends on the pairs that `UserItemSet` is built from:
- training rejects the user's TRAINING positives only; rejecting those of validation or test would leak them;
- evaluation leaves out the user's items of training, validation AND test, except the one item that is ranked.

Draws by other weights, with replacement, are in `fmlab.data.weighted_sampling`. The samplers that a run selects are
plugins (`plugins/fmlab_samplers`), called for each batch by `fmlab.training.loader`.

The private functions take `xp`, numpy or torch: on the CPU they run on NumPy views of the tensors, because an
operation on a small array costs several times less there. Integers wrap alike in both.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fmlab.data.schema import Array
from fmlab.errors import DataError

BITMAP_CELLS = 1 << 31
"""Up to this many (user, item) cells the observed pairs are kept as a bitmap: 256 MiB at most."""

ROUNDS = ((0, 2), (2, 32))
"""Hashes tried at once, two attempts each, for draws that hit an observed item: 64 in all, seldom more than 4."""

NAMED = 5
"""Users that an error names."""

_GRID = 1 << 24  # cells of a (user, item) grid held at once when unobserved items are enumerated
_GOLDEN, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


class UserItemSet:
    """Which items each user was observed with, as a set.

    `user`, `item`: indices of equal length (repeats allowed). `degree[n_users]`: distinct items of each user.
    `offsets[n_users + 1]`, `items`: the items of user u, ascending, are `items[offsets[u]:offsets[u + 1]]`.
    """

    def __init__(self, user: Tensor | Array, item: Tensor | Array, n_users: int, n_items: int) -> None:
        self.n_users, self.n_items = n_users, n_items
        keys = torch.as_tensor(user).to(torch.int64) * n_items + torch.as_tensor(item).to(torch.int64)
        self._keys = torch.unique(keys)  # sorted
        owner = self._keys // n_items
        self.items = self._keys - owner * n_items
        self.degree = torch.bincount(owner, minlength=n_users)
        self.offsets = torch.cat([self.degree.new_zeros(1), self.degree.cumsum(0)])
        self._bits: Tensor | None = None

    def to(self, device: torch.device) -> "UserItemSet":
        """The same on another device."""
        moved = object.__new__(UserItemSet)
        moved.__dict__ = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in self.__dict__.items()}
        return moved

    def popularity(self) -> Tensor:
        """How many users each item was observed with, int64 `[n_items]`."""
        return torch.bincount(self.items, minlength=self.n_items)

    def contains(self, user: Tensor, item: Tensor) -> Tensor:
        """Whether the pairs (int64, of shapes that broadcast) were observed."""
        return self._hits(torch, user, item) != 0

    def _hits(self, xp: Any, user: Any, item: Any) -> Any:
        """1 where observed, 0 elsewhere."""
        if self._bits is None and self.n_users * self.n_items <= BITMAP_CELLS:
            self._bits = self._bitmap()
        if self._bits is not None:
            byte = xp.take(_as(xp, self._bits), (user >> 3) * self.n_items + item)
            return (byte >> (user & 7)) & 1
        keys, key = _as(xp, self._keys), user * self.n_items + item
        if not len(keys):
            return key * 0
        return (keys[xp.searchsorted(keys[:-1], key)] == key) * 1

    def _bitmap(self) -> Tensor:
        """Bit u % 8 of byte (u // 8, item): all that depends on the user is computed once for its many candidates."""
        owner = torch.div(self._keys, self.n_items, rounding_mode="floor")
        size = (self.n_users // 8 + 1) * self.n_items
        bits = torch.zeros(size, dtype=torch.uint8, device=self._keys.device)
        place, bit = (owner >> 3) * self.n_items + self.items, (1 << (owner & 7)).to(torch.uint8)
        return bits.scatter_add_(0, place, bit)  # the pairs are distinct, so that adding bits is setting them

    def check(self, user: Tensor | Array, n: int = 1, hint: str = "", names: Array | None = None) -> None:
        """Raise DataError if any of the users has fewer than `n` unobserved items, so that no draw can fail later.

        `names[n_users]`: the raw ids of users, for the message; without them, it has their indices.
        """
        users = torch.unique(torch.as_tensor(user).to(self.degree.device, torch.int64))
        short = users[self.n_items - self.degree[users] < n].tolist()
        if short:
            called = [repr(str(u if names is None else names[u])) for u in short[:NAMED]]
            listed = ", ".join(called) + (", ..." if len(short) > NAMED else "")
            raise DataError(
                f"every user needs {n:,} or more items it has not interacted with, to draw from; "
                f"got {len(short):,} of {len(users):,} users with fewer among the {self.n_items:,} items{hint}; "
                f"they are {listed}"
            )


def draw_negatives(observed: UserItemSet, user: Tensor, row: Tensor, n: int, *, seed: int, epoch: int) -> Tensor:
    """`[B, n]` int64: for each positive, `n` items uniform over those its user was not observed with, with replacement.

    `user[B]` and `row[B]`, the positive's row in the data set, are int64. Every user must have an unobserved item
    (`UserItemSet.check`). The same (seed, epoch, row) gives the same items for the same `observed`, always.

    The first unobserved one of 65 hashed candidates is taken; after that the unobserved items are enumerated and one
    is picked, so that the time is bounded for users that were observed with nearly all items too.
    """
    if row.device.type == "cpu":
        return torch.from_numpy(_draw(np, observed, user.numpy(), row.numpy(), n, seed, epoch))
    return _draw(torch, observed, user, row, n, seed, epoch)


def draw_distinct(observed: UserItemSet, user: Tensor, row: Tensor, n: int, *, seed: int) -> Tensor:
    """`[B, n]` int64: for each row, `n` different items that its user was not observed with, uniform over such sets.

    For candidate lists that are drawn once and kept. Raises DataError if a user has fewer than `n` unobserved items.
    """
    observed.check(user, n)
    out = torch.empty(len(row), n, dtype=torch.int64, device=row.device)
    few = observed.n_items - observed.degree[user] < 4 * n  # repeats would be many: permute all unobserved items
    for todo in torch.split((~few).nonzero().squeeze(1), max(1, _GRID // (4 * n))):
        width = n + n // 4 + 8
        while len(todo):
            drawn = draw_negatives(observed, user[todo], row[todo], width, seed=seed, epoch=0)
            ordered, place = drawn.sort(dim=1, stable=True)
            fresh = torch.ones_like(drawn, dtype=torch.bool)
            fresh.scatter_(1, place[:, 1:], ordered[:, 1:] != ordered[:, :-1])  # the first of equal ones stays
            count = fresh.cumsum(1)
            done = count[:, -1] >= n
            out[todo[done]] = drawn[done][(fresh & (count <= n))[done]].view(-1, n)
            todo, width = todo[~done], 2 * width
    items = torch.arange(observed.n_items, device=row.device)
    for part in torch.split(few.nonzero().squeeze(1), max(1, _GRID // observed.n_items)):
        order = _mix(_origin(row[part], seed, 0).unsqueeze(1) + items * _wrap(_GOLDEN))
        taken = observed.contains(user[part].unsqueeze(1), items)
        order.masked_fill_(taken, torch.iinfo(torch.int64).max)
        out[part] = order.topk(n, largest=False, sorted=False).indices
    return out


def draw_popular(observed: UserItemSet, user: Tensor, row: Tensor, n: int, weight: Array, *, seed: int) -> Tensor:
    """`[B, n]` int64: like `draw_distinct`, but each next item is drawn in proportion to `weight[items]` of those left.

    Items of weight 0 come last. By the exponential races of Efraimidis and Spirakis, Information Processing Letters
    2006: the items with the n smallest -log(u) / weight, u uniform by hashing.
    """
    observed.check(user, n)
    out = torch.empty(len(row), n, dtype=torch.int64, device=row.device)
    items = torch.arange(observed.n_items, device=row.device)
    scale = torch.as_tensor(np.maximum(weight, 1e-9), dtype=torch.float64, device=row.device)
    for part in torch.split(torch.arange(len(row)), max(1, _GRID // observed.n_items)):
        mixed = _mix(_origin(row[part], seed, 0).unsqueeze(1) + items * _wrap(_GOLDEN))
        race = -torch.log((mixed.double() + 0.5) / 2.0**63) / scale
        race.masked_fill_(observed.contains(user[part].unsqueeze(1), items), torch.inf)
        out[part] = race.topk(n, largest=False).indices
    return out


def _draw(xp: Any, observed: UserItemSet, user: Any, row: Any, n: int, seed: int, epoch: int) -> Any:
    origin = _origin(row, seed, epoch)
    drawn = _pairs(xp, origin, 0, (n + 1) // 2, observed.n_items)[:, :n]
    flat = drawn.reshape(-1)
    left = _where(xp, observed._hits(xp, user[:, None], drawn).reshape(-1))
    for low, high in ROUNDS:
        if not len(left):
            break
        tried = _pairs(xp, origin[left // n] + (left % n + 1) * _wrap(_MIX1), low, high, observed.n_items)
        hit = observed._hits(xp, user[left // n][:, None], tried)
        first = _range(xp, 0, len(left), row), xp.argmin(hit, 1)  # of the unobserved ones
        flat[left] = tried[first]
        left = left[hit[first] != 0]
    if len(left):
        hashes = _mix(origin[left // n] + (left % n + 1) * _wrap(_MIX1) + _wrap(ROUNDS[-1][1] * _GOLDEN))
        flat[left] = _enumerated(xp, observed, user[left // n], hashes)
    return flat.reshape(len(row), n)


def _enumerated(xp: Any, observed: UserItemSet, user: Any, hashes: Any) -> Any:
    """One unobserved item for each `user[B]`, from the list of all of them."""
    distinct, which = xp.unique(user, return_inverse=True)
    free = observed.n_items - _as(xp, observed.degree)[distinct]
    wanted, out = hashes % free[which], xp.empty_like(user)
    items, size = _range(xp, 0, observed.n_items, user), max(1, _GRID // observed.n_items)
    for first in range(0, len(distinct), size):
        part = slice(first, first + size)
        unobserved = _where(xp, 1 - observed._hits(xp, distinct[part][:, None], items).reshape(-1)) % observed.n_items
        begins = free[part].cumsum(0) - free[part]
        mine = _where(xp, (which >= first) & (which < first + size))
        out[mine] = unobserved[begins[which[mine] - first] + wanted[mine]]
    return out


def _origin(row: Any, seed: int, epoch: int) -> Any:
    """Where the hashes of each row are counted from; those of its draw d from `_MIX1 (d + 1)` further on."""
    return _mix(row * _wrap(_GOLDEN) + _mix_int(_mix_int(seed * _GOLDEN) + epoch * _GOLDEN))


def _pairs(xp: Any, origin: Any, low: int, high: int, n_items: int) -> Any:
    """Candidates `[B, 2 (high - low)]`: two of each of the hashes numbered low .. high - 1."""
    hashes = _mix(origin[:, None] + _range(xp, low, high, origin) * _wrap(_GOLDEN))
    # 32 random bits -> 0 .. n_items - 1 by a product and a shift: cheaper than a remainder, and as uniform.
    return (xp.stack([hashes >> 31, hashes & 0xFFFFFFFF], 2).reshape(len(origin), -1) * n_items) >> 32


def _mix(x: Any) -> Any:
    """A hash of int64 into 0 .. 2^63 - 1: the finalizer of splitmix64 (Steele, Lea & Flood, OOPSLA 2014).

    The shifts copy the sign, which costs one of 64 bits (x and ~x collide) and saves masking in a hot path.
    """
    x = x ^ (x >> 30)
    x *= _wrap(_MIX1)
    x ^= x >> 27
    x *= _wrap(_MIX2)
    x ^= x >> 31
    return x


def _mix_int(x: int) -> int:
    """The same hash of one Python int."""
    x = _wrap(x)
    x = _wrap((x ^ (x >> 30)) * _MIX1)
    x = _wrap((x ^ (x >> 27)) * _MIX2)
    return x ^ (x >> 31)


def _wrap(x: int) -> int:
    """The int64 that x is congruent to."""
    return (x + (1 << 63)) % (1 << 64) - (1 << 63)


def _range(xp: Any, low: int, high: int, like: Any) -> Any:
    return np.arange(low, high) if xp is np else torch.arange(low, high, device=like.device)


def _where(xp: Any, hit: Any) -> Any:
    return np.flatnonzero(hit) if xp is np else hit.nonzero().squeeze(1)


def _as(xp: Any, tensor: Tensor) -> Any:
    return tensor.numpy() if xp is np else tensor
