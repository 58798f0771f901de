"""Products of all pairs of vectors, one by one: for models that weigh or transform each pair."""

from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def rows_last(vectors: Tensor) -> Tensor:
    """`[*batch, c, k]` -> `[c, k, n]`, the layout in which a pair of columns is two contiguous blocks."""
    return vectors.reshape(-1, *vectors.shape[-2:]).permute(1, 2, 0).contiguous()


def pair_products(vectors: Tensor) -> Tensor:
    """`v_i * v_j` of all columns i < j: `[c, k, n]` -> `[c (c - 1) / 2, k, n]`, in the order of `triangle`."""
    return _Products.apply(vectors)  # type: ignore[no-untyped-call]


def triangle(columns: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Left and right column of every pair i < j: (0, 1), (0, 2), ..., (1, 2), ..."""
    left, right = torch.triu_indices(columns, columns, 1, device=device)
    return left, right


def inner_products(vectors: Tensor) -> Tensor:
    """`<v_i, v_j>` of all columns i < j: `[*batch, c, k]` -> `[*batch, c (c - 1) / 2]`, in the order of `triangle`."""
    c = vectors.shape[-2]
    left, right = triangle(c, vectors.device)
    return (vectors @ vectors.transpose(-1, -2)).flatten(-2).index_select(-1, left * c + right)


def _blocks(columns: int) -> list[tuple[int, slice]]:
    """Each column with the place of its pairs with later ones."""
    stops = list(accumulate(range(columns - 1, 0, -1), initial=0))
    return [(i, slice(a, b)) for i, (a, b) in enumerate(pairwise(stops))]


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        out = v.new_empty(len(v) * (len(v) - 1) // 2, *v.shape[1:])
        for i, block in _blocks(len(v)):
            torch.mul(v[i], v[i + 1 :], out=out[block])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (v,) = ctx.saved_tensors
        found = torch.zeros_like(v)
        for i, block in _blocks(len(v)):
            found[i] += (grad[block] * v[i + 1 :]).sum(0)
            found[i + 1 :].addcmul_(grad[block], v[i])
        return found
