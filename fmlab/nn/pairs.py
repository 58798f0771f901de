"""Sums over all pairs of columns in time linear in the columns."""

import torch
from torch import Tensor

from fmlab.nn.incidence import Incidence, pool


def moments(first: Tensor, second: Tensor, at: Incidence, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`sum x first` and `sum x^2 second` over columns: `first[d, k]`, `second[d]` -> `[*batch, k]`, `[*batch]`."""
    if values is None:
        both = pool(torch.cat([first, second.unsqueeze(-1)], -1), at)
        vector, scalar = torch.split(both, [first.shape[-1], 1], -1)
        return vector, scalar.squeeze(-1)
    return pool(first, at, values), pool(second.unsqueeze(-1), at, values.square()).squeeze(-1)


def factor_pairs(rows: Tensor, at: Incidence, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """First and second order of a factorization machine, and the sum of its vectors.

    `rows[d, 1 + k]` hold a weight and a vector. Gives `sum w x + sum_{i<j} <v_i, v_j> x_i x_j`, `[*batch]`, and
    `sum v x`, `[*batch, k]`, by `sum_{i<j} = (|sum v x|^2 - sum |v|^2 x^2) / 2` (Rendle 2010, lemma 3.1).
    """
    total, own = moments(rows, rows[:, 1:].square().sum(-1), at, values)
    weight, vector = torch.split(total, [1, rows.shape[-1] - 1], -1)
    return weight.squeeze(-1) + 0.5 * (vector.square().sum(-1) - own), vector
