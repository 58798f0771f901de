"""Initial embeddings."""

import torch
from torch import Tensor


def weights_and_vectors(rows: int, dim: int, std: float) -> Tensor:
    """`[rows, 1 + dim]`: the first-order weight, 0, beside the vector, N(0, std): one read serves both."""
    return torch.cat([torch.zeros(rows, 1), std * torch.randn(rows, dim)], 1)


def near_origin(rows: int, dim: int) -> Tensor:
    """`[rows, dim]` from U(-a, a) with `a = (3 b^2 / (2 dim))^(1/3)`, b = 0.01 (HyperML, section 3.1)."""
    return torch.empty(rows, dim).uniform_(-1, 1) * (3 * 0.01**2 / (2 * dim)) ** (1 / 3)
