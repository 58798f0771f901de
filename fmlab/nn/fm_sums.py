"""Sums over all pairs of columns in time linear in the columns."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fmlab.nn.sparse_lookup import IdGrouping, pool, sum_columns, sum_occurrences


def weighted_sums(first: Tensor, second: Tensor, at: IdGrouping, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`sum x first` and `sum x^2 second` over columns: `first[d, k]`, `second[d]` -> `[*batch, k]`, `[*batch]`."""
    if values is None:
        both = pool(torch.cat([first, second.unsqueeze(-1)], -1), at)
        vector, scalar = torch.split(both, [first.shape[-1], 1], -1)
        return vector, scalar.squeeze(-1)
    return pool(first, at, values), pool(second.unsqueeze(-1), at, values.square()).squeeze(-1)


def squared_norm(vectors: Tensor) -> Tensor:
    """`|v|^2`: `[*batch, k]` -> `[*batch]`."""
    return vectors.square().sum(-1)


def factor_pairs(
    rows: Tensor, at: IdGrouping, values: Tensor | None = None, square: Callable[[Tensor], Tensor] = squared_norm
) -> tuple[Tensor, Tensor]:
    """First and second order of a factorization machine, and the sum of its vectors.

    `rows[d, 1 + k]` hold a weight and a vector. Gives `sum w x + sum_{i<j} <v_i, v_j> x_i x_j`, `[*batch]`, and
    `sum v x`, `[*batch, k]`, by `sum_{i<j} = (|sum v x|^2 - sum |v|^2 x^2) / 2` (Rendle 2010, lemma 3.1).
    `square(v)` is `<v, v>` of another inner product than the ordinary one.
    """
    total, own = weighted_sums(rows, square(rows[:, 1:]), at, values)
    weight, vector = torch.split(total, [1, rows.shape[-1] - 1], -1)
    return weight.squeeze(-1) + 0.5 * (square(vector) - own), vector


def factor_products(rows: Tensor, at: IdGrouping, values: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The same for each factor: `sum w x`, `sum_{i<j} v_i * v_j x_i x_j`, `[*batch, k]`, and `sum v x`."""
    squares = rows[:, 1:].square()
    if values is None:
        total = pool(torch.cat([rows, squares], 1), at)
    else:
        x = values.to(rows.dtype)  # its square keeps the digits of the model
        total = torch.cat([pool(rows, at, x), pool(squares, at, x.square())], -1)
    weight, vector, own = torch.split(total, [1, squares.shape[1], squares.shape[1]], -1)
    return weight.squeeze(-1), 0.5 * (vector.square() - own), vector


def triangle_pairs(points: Tensor, at: IdGrouping, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sum over ordered pairs of columns of LorentzFM's T, and the sums needed for pairs with columns outside.

    `points[d, k]` are stored coordinates on the unit hyperboloid, `v0 = sqrt(1 + |v|^2)`. Gives `[*batch]`

        sum_{i != j} T(v_i, v_j) x_i x_j = (sum c x)^2 - |sum b x|^2 + sum 2c/v0 x^2,   c = 1 - 1/v0,   b = v/v0,

    where `2c/v0 = |b|^2 - c^2`, and `(sum c x, sum b x)`, `[*batch, 1 + k]`. The gradient is the closed form too, which
    makes a training step of LorentzFM about a sixth cheaper.
    """
    return _Triangle.apply(points, None if values is None else values.to(points.dtype), at)  # type: ignore[no-untyped-call]


class _Triangle(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, x: Tensor | None, at: IdGrouping) -> tuple[Tensor, Tensor]:
        square = _inner(v, v)
        inverse = (1 + square).rsqrt()  # 1 / v0
        c = square * inverse.square() / (1 + inverse)  # 1 - 1/v0, written so because 1 - 1/v0 cancels near the origin
        lifted = torch.cat([c, v * inverse, 2 * inverse * c], -1)
        total = _weigh(sum_columns, lifted, at, x)
        vector = total[..., :-1].contiguous()
        signed = -vector
        signed[..., 0].neg_()
        ctx.at = at
        ctx.save_for_backward(v, inverse, x, signed, lifted if ctx.needs_input_grad[1] else None)
        return _inner(vector, signed).squeeze(-1) + total[..., -1], vector

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_sum: Tensor, of_vector: Tensor) -> tuple[Tensor, Tensor | None, None]:
        v, inverse, x, signed, lifted = ctx.saved_tensors
        push = of_sum.unsqueeze(-1)
        pushes = torch.cat([torch.addcmul(of_vector, signed, 2 * push), push], -1)
        of_c, of_b, of_own = torch.split(_weigh(sum_occurrences, pushes, ctx.at, x), [1, v.shape[-1], 1], -1)
        # With s = 1/v0, ds/dv = -s^3 v: dc/dv = s^3 v, db/dv = s - s^3 v v^T, d(2 s (1 - s))/dv = (4s - 2) s^3 v.
        along = of_c - _inner(v, of_b) + (4 * inverse - 2) * of_own
        of_points = torch.addcmul(of_b, v, along * inverse.square()) * inverse
        if lifted is None:
            return of_points, None, None
        wide = lifted[ctx.at.inverse] * pushes.unsqueeze(-2)
        return of_points, wide[..., :-1].sum(-1) + 2 * x * wide[..., -1], None


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)  # not vecdot, which autocast rounds to bfloat16


def _weigh(total: Callable[..., Tensor], columns: Tensor, at: IdGrouping, x: Tensor | None) -> Tensor:
    """Sums of `columns` times x, and of the last of them times x^2."""
    if x is None:
        return total(columns, at, None)
    return torch.cat([total(columns[..., :-1], at, x), total(columns[..., -1:], at, x.square())], -1)
