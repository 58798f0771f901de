"""What every manifold offers, and the scalar functions they share.

A manifold works on stored coordinates `[*batch, d]`. All operations broadcast over the leading axes, leave their
arguments alone, and give the dtype of the point they were given. Its origin is the zero vector.

Points and gradients may be float32 or float64; the arithmetic inside is float64 wherever float32 would lose digits.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from fmlab.errors import FmlabError

TINY = 1e-300  # keeps a square root away from 0, where its slope is infinite


class Manifold(ABC):
    """A Riemannian manifold in one chart.

    `x`, `y` are points `[*batch, d]`; `u`, `w` tangent vectors at a point, in the same coordinates. Equal settings
    make equal manifolds.
    """

    @abstractmethod
    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        """Length of the shortest path `[*batch]`: exactly 0, with gradient 0, where the points meet."""

    @abstractmethod
    def inner(self, x: Tensor, u: Tensor, w: Tensor) -> Tensor:
        """Inner product of tangent vectors at `x`, `[*batch]`."""

    def norm(self, x: Tensor, u: Tensor) -> Tensor:
        """Length of a tangent vector at `x`, `[*batch]`."""
        return root(self.inner(x, u, u))

    @abstractmethod
    def exp(self, x: Tensor, u: Tensor) -> Tensor:
        """The point reached from `x` along the geodesic with initial velocity `u`, in unit time."""

    @abstractmethod
    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """The tangent vector at `x` whose exponential is `y`."""

    @abstractmethod
    def transport(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        """`u` carried from `x` to `y` in parallel along the geodesic between them."""

    @abstractmethod
    def gradient(self, x: Tensor, egrad: Tensor) -> Tensor:
        """Riemannian gradient from the partial derivatives in the stored coordinates."""

    def slope(self, x: Tensor, egrad: Tensor) -> Tensor:
        """Length of the Riemannian gradient in the metric, float64 `[*batch, 1]`."""
        g = egrad.double()
        return root(dot(g, self.gradient(x.double(), g)))

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """The nearest coordinates at which the manifold can still be computed."""

    def retract(self, x: Tensor, u: Tensor) -> Tensor:
        """First-order approximation of `exp`: a straight step in coordinates, then `project`."""
        return self.project(x + u)

    @abstractmethod
    def descend(
        self, x: Tensor, egrad: Tensor, lr: float | Tensor, *, exact: bool = False, max_norm: float = 1.0
    ) -> Tensor:
        """One step of gradient descent from `x`, at most `max_norm` long; `egrad` holds the partial derivatives.

        `lr` is one rate, or `[*batch, 1]` of the points.
        Each manifold has a customary map; `exact` asks for the exponential map where that is another one.
        """


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product over the last axis, which is kept."""
    return (a * b).sum(-1, keepdim=True)


def root(s: Tensor) -> Tensor:
    """Square root of `s >= 0` whose gradient at 0 is 0."""
    positive = s > 0
    return torch.where(positive, s, 1.0).sqrt() * positive


def arcosh1p(t: Tensor) -> Tensor:
    """`arcosh(1 + t)` for `t >= 0` without loss of digits near 0; its gradient at `t <= 0` is 0."""
    return 2 * torch.asinh(root(t / 2))


def over(function: Callable[[Tensor], Tensor], square: Tensor) -> Tensor:
    """`function(n) / n` of `n = sqrt(square)` for an odd function with slope 1 at 0; smooth at 0."""
    n = square.clamp_min(TINY).sqrt()
    return function(n) / n


def limit(limits: dict[torch.dtype, float], dtype: torch.dtype) -> float:
    """The limit for this dtype; raises FmlabError for half precision."""
    if dtype not in limits:
        raise FmlabError(f"points of a manifold must be float32 or float64, got {dtype}")
    return limits[dtype]
