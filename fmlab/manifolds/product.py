"""Products of manifolds: a point has a part on each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fmlab.errors import FmlabError
from fmlab.manifolds.base import Manifold, safe_sqrt


@dataclass(frozen=True, init=False)
class Product(Manifold):
    """The product of manifolds: coordinates stand side by side, squared lengths add up.

    Paper: Gu, Sala, Gunel, Ré, Learning mixed-curvature representations in product spaces, ICLR 2019, section 3.

    `factors` are the manifolds with the number of their coordinates: points of `Product((Lorentz(), 4), (Sphere(), 3))`
    have 7. Every map is that of the factors, each on its own coordinates; distances and norms are the roots of sums of
    squares.

    Raises FmlabError without factors, for a factor without coordinates, and for coordinates of another number.
    """

    factors: tuple[tuple[Manifold, int], ...]

    def __init__(self, *factors: tuple[Manifold, int]) -> None:
        """The manifolds with the number of their coordinates."""
        if not factors or any(width < 1 for _, width in factors):
            raise FmlabError(f"a product needs factors of one coordinate or more, got {factors}")
        object.__setattr__(self, "factors", tuple(factors))

    @property
    def width(self) -> int:
        """Coordinates of a point."""
        return sum(width for _, width in self.factors)

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        """`sqrt(sum d_i^2)`."""
        return safe_sqrt(_total(m.dist(a, b).square() for m, a, b in self._parts(x, y)))

    def inner(self, x: Tensor, u: Tensor, w: Tensor) -> Tensor:
        """The sum over the factors."""
        return _total(m.inner(a, b, c) for m, a, b, c in self._parts(x, u, w))

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """By factor."""
        return torch.cat([m.expmap(a, b) for m, a, b in self._parts(x, u)], -1)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """By factor."""
        return torch.cat([m.logmap(a, b) for m, a, b in self._parts(x, y)], -1)

    def expmap0(self, u: Tensor) -> Tensor:
        """By factor."""
        return torch.cat([m.expmap0(a) for m, a in self._parts(u)], -1)

    def logmap0(self, y: Tensor) -> Tensor:
        """By factor."""
        return torch.cat([m.logmap0(a) for m, a in self._parts(y)], -1)

    def transport(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        """By factor."""
        return torch.cat([m.transport(a, b, c) for m, a, b, c in self._parts(x, y, u)], -1)

    def riemannian_gradient(self, x: Tensor, egrad: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        """By factor."""
        return torch.cat([m.riemannian_gradient(a, b, scale) for m, a, b in self._parts(x, egrad)], -1)

    def gradient_norm(self, x: Tensor, egrad: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        """The root of the sum of squares."""
        norms = torch.cat([m.gradient_norm(a, b) for m, a, b in self._parts(x, egrad)], -1)
        return scale * torch.linalg.vector_norm(norms, dim=-1, keepdim=True)

    def project(self, x: Tensor) -> Tensor:
        """By factor."""
        return torch.cat([m.project(a) for m, a in self._parts(x)], -1)

    def retract(self, x: Tensor, u: Tensor) -> Tensor:
        """By factor."""
        return torch.cat([m.retract(a, b) for m, a, b in self._parts(x, u)], -1)

    def _parts(self, *vectors: Tensor) -> Iterator[tuple[Any, ...]]:
        """Each manifold with its coordinates of all vectors."""
        widths = [width for _, width in self.factors]
        for vector in vectors:
            if vector.shape[-1] != self.width:
                raise FmlabError(f"points of this product have {self.width} coordinates, got {vector.shape[-1]}")
        split = (torch.split(vector, widths, -1) for vector in vectors)
        return zip([manifold for manifold, _ in self.factors], *split, strict=True)


def _total(parts: Iterable[Tensor]) -> Tensor:
    first, *others = parts
    for other in others:
        first = first + other
    return first
