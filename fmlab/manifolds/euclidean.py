"""Flat space: what a parameter lives in unless it says otherwise."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fmlab.manifolds.base import Manifold, dot, safe_sqrt


@dataclass(frozen=True)
class Euclidean(Manifold):
    """R^d with the ordinary inner product."""

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        """`|x - y|`."""
        return safe_sqrt(dot(x - y, x - y)).squeeze(-1)

    def inner(self, x: Tensor, u: Tensor, w: Tensor) -> Tensor:
        """`<u, w>` at every point."""
        return dot(u, w).squeeze(-1)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """`x + u`."""
        return (x + u).to(x.dtype)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """`y - x`."""
        return y - x

    def transport(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        """`u` itself: vectors look the same everywhere."""
        return u + torch.zeros_like(x + y)

    def riemannian_gradient(self, x: Tensor, egrad: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        """`scale egrad`."""
        return egrad * scale

    def project(self, x: Tensor) -> Tensor:
        """`x` itself."""
        return x
