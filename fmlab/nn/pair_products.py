"""Products of all pairs of vectors, one by one: for models that weigh or transform each pair."""

import torch
from torch import Tensor


def rows_last(vectors: Tensor) -> Tensor:
    """`[*batch, c, k]` -> `[c, k, n]`, the layout in which a pair of columns is two contiguous blocks."""
    return vectors.reshape(-1, *vectors.shape[-2:]).permute(1, 2, 0).contiguous()


def triangle(columns: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Left and right column of every pair i < j: (0, 1), (0, 2), ..., (1, 2), ..."""
    left, right = torch.triu_indices(columns, columns, 1, device=device)
    return left, right


def inner_products(vectors: Tensor) -> Tensor:
    """`<v_i, v_j>` of all columns i < j: `[*batch, c, k]` -> `[*batch, c (c - 1) / 2]`, in the order of `triangle`."""
    c = vectors.shape[-2]
    left, right = triangle(c, vectors.device)
    return (vectors @ vectors.transpose(-1, -2)).flatten(-2).index_select(-1, left * c + right)
