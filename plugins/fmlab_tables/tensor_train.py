"""Tensor-train tables."""

from collections.abc import Sequence
from math import prod
from typing import Annotated

import torch
from torch import Tensor

from fmlab.contracts.table import TableGroup
from fmlab.data import Schema
from fmlab.plugin.option import Range
from fmlab_tables._by_field import ByField, field_sizes, starts


class TensorTrain(ByField):
    """A field's table is a tensor train: a feature's embedding is a product of slices of a few small cores.

    With `n <= n_1 ... n_d` features and embeddings of `k <= k_1 ... k_d` numbers, feature `i = (i_1, ..., i_d)`, its
    digits, has `G_1[i_1] G_2[i_2] ... G_d[i_d]`, where slice `G_j[i_j]` is a matrix of `R_{j-1}` rows and `k_j R_j`
    columns; `R_j` is the rank, 1 at both ends. Cores hold `sum n_j R_{j-1} k_j R_j` numbers in place of `n k`. Fields
    for which that is no less keep a row for each feature. The factors `n_j` and `k_j` are as equal as whole numbers
    are, the smallest in the middle, where cores are largest; what products have more than n and k is left out.

    Paper: Yin, Acun, Wu, Liu, TT-Rec: tensor train compression for deep learning recommendation models, MLSys 2021,
      equation 3, and section 3.2 for the start.

    Entries of cores start from the sampled Gaussian of the paper, `N(0, 1)` without `(-2, 2)`, whose products look
    more like a Gaussian than those of all numbers; they are scaled so that embeddings start with the deviation that
    those of the model have, .01 where it starts with zeros.
    """

    one_row = False
    own: Tensor

    def __init__(
        self,
        schema: Schema,
        fields: range,
        width: int,
        *,
        rank: Annotated[int, Range(1, None), "rank of the tensor train, its inner width"] = 8,
        cores: Annotated[int, Range(2, 4), "cores that the table of a field has"] = 3,
    ) -> None:
        """`fields`: numbers of the fields of the table, `width`: numbers of an embedding."""
        super().__init__(sizes := field_sizes(schema, fields))
        self.width, self.rank = width, rank
        self.columns = factors(width, cores)
        self.ranks = [1, *[rank] * (cores - 1), 1]
        slices = [a * k * b for a, k, b in zip(self.ranks, self.columns, self.ranks[1:], strict=False)]
        digits = [factors(n, cores) for n in sizes]
        trains = [
            sum(n * s for n, s in zip(d, slices, strict=True)) < size * width
            for d, size in zip(digits, sizes, strict=True)
        ]
        self.whole = [0 if t else n for t, n in zip(trains, sizes, strict=True)]
        counts = [[d[j] if t else 0 for d, t in zip(digits, trains, strict=True)] for j in range(cores)]
        train = tuple((sum(n), s) for n, s in zip(counts, slices, strict=True))
        self.groups = (TableGroup(((sum(self.whole), width),)), TableGroup(train))
        self.keep("own", [-1 if t else a for t, a in zip(trains, starts(self.whole), strict=True)])
        for j, number in enumerate(counts):
            self.keep(f"first{j}", starts(number))
            self.keep(f"base{j}", [d[j] for d in digits])

    def forward(self, ids: Tensor) -> list[list[Tensor]]:
        """Features -> rows of their own; slices of each core, int64 `[n]` each."""
        field, local = self.within(ids)
        own = self.own[field]
        slices, rest = [], local
        for j in reversed(range(len(self.columns))):
            base = self.get_buffer(f"base{j}")[field]
            slices.append(torch.where(own < 0, self.get_buffer(f"first{j}")[field] + rest % base, -1))
            rest = rest // base
        return [[torch.where(own < 0, own, own + local)], slices[::-1]]

    def embed(self, group: int, rows: Sequence[Tensor], shared: Sequence[Tensor]) -> Tensor:
        """The row, or the product of the slices."""
        if group == 0:
            return rows[0]
        found = rows[0].reshape(-1, self.columns[0], self.ranks[1])
        for j in range(1, len(self.columns)):
            core = rows[j].reshape(-1, self.ranks[j], self.columns[j] * self.ranks[j + 1])
            found = torch.bmm(found, core).reshape(-1, prod(self.columns[: j + 1]), self.ranks[j + 1])
        return found.flatten(1)[:, : self.width]

    def start(self, rows: Tensor) -> list[Tensor]:
        """The first rows of the fields that keep them, and random cores."""
        spread = rows.std(correction=0)
        spread = torch.where(spread > 0, spread, torch.full_like(spread, 0.01))
        each = (spread / self.rank ** ((len(self.columns) - 1) / 2)) ** (1 / len(self.columns))
        cores = [_sampled_gaussian(rows, shape) * each for shape in self.groups[1].tables]
        return [self.rows_of(rows, self.whole), *cores]


def factors(n: int, count: int) -> list[int]:
    """`count` whole numbers, as equal as can be, whose product is at least `n`; the smallest stand in the middle."""
    found: list[int] = []
    for left in range(count, 0, -1):
        rest = -(-n // prod(found))
        root = max(1, round(rest ** (1 / left)))
        root -= (root - 1) ** left >= rest
        found.append(root + (root**left < rest))
    found.sort(reverse=True)
    return found[::2] + found[1::2][::-1]


def _sampled_gaussian(like: Tensor, shape: tuple[int, int]) -> Tensor:
    """`N(0, 1)` outside of `(-2, 2)` by the inverse of its distribution, divided by its deviation."""
    tail = 0.02275013194817921  # of the normal distribution beyond 2
    u = torch.rand(shape, dtype=torch.float64, device=like.device)
    sign = torch.where(torch.rand(shape, dtype=torch.float64, device=like.device) < 0.5, -1.0, 1.0)
    size = -torch.special.ndtri(u * tail).clamp(-38, -2)
    deviation = (1 + 2 * 0.05399096651318806 / tail) ** 0.5  # E[x^2 | x > 2] = 1 + 2 phi(2) / (1 - Phi(2))
    return (sign * size / deviation).to(like.dtype)
