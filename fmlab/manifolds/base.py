"""What every manifold offers, and the scalar functions they share.

A manifold is geometry alone: lengths, maps and gradients on stored coordinates `[*batch, d]`. How an optimizer steps is
the optimizer's. All operations broadcast over the leading axes, leave their arguments alone, and give the dtype of the
point they were given. Its origin is the zero vector.

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
    make equal manifolds. A curvature is a number, or a scalar tensor that gradients reach through `dist`, `inner` and
    the maps.
    """

    @abstractmethod
    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        """Length of the shortest path `[*batch]`: exactly 0, with gradient 0, where the points meet."""

    @abstractmethod
    def inner(self, x: Tensor, u: Tensor, w: Tensor) -> Tensor:
        """Inner product of tangent vectors at `x`, `[*batch]`."""

    def norm(self, x: Tensor, u: Tensor) -> Tensor:
        """Length of a tangent vector at `x`, `[*batch]`."""
        return safe_sqrt(self.inner(x, u, u))

    @abstractmethod
    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """The point reached from `x` along the geodesic with initial velocity `u`, in unit time."""

    @abstractmethod
    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """The tangent vector at `x` whose exponential is `y`."""

    def expmap0(self, u: Tensor) -> Tensor:
        """The exponential map at the origin."""
        return self.expmap(torch.zeros_like(u), u)

    def logmap0(self, y: Tensor) -> Tensor:
        """The logarithm at the origin, the inverse of `expmap0`."""
        return self.logmap(torch.zeros_like(y), y)

    @abstractmethod
    def transport(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        """`u` carried from `x` to `y` in parallel along the geodesic between them."""

    @abstractmethod
    def riemannian_gradient(self, x: Tensor, egrad: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        """`scale` times the Riemannian gradient, from the partial derivatives in the stored coordinates.

        `scale` is one number, or `[*batch, 1]` of the points.
        """

    def gradient_norm(self, x: Tensor, egrad: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        """`scale` times the length of the Riemannian gradient in the metric, float64 `[*batch, 1]`."""
        g = egrad.double()
        return scale * safe_sqrt(dot(g, self.riemannian_gradient(x.double(), g)))

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """The nearest coordinates at which the manifold can still be computed."""

    def retract(self, x: Tensor, u: Tensor) -> Tensor:
        """First-order approximation of `expmap`: a straight step in coordinates, then `project`."""
        return self.project((x + u).to(x.dtype))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product over the last axis, which is kept."""
    return (a * b).sum(-1, keepdim=True)


def safe_sqrt(s: Tensor) -> Tensor:
    """Square root of `s >= 0` whose gradient at 0 is 0."""
    positive = s > 0
    return torch.where(positive, s, 1.0).sqrt() * positive


def arcosh1p(t: Tensor) -> Tensor:
    """`arcosh(1 + t)` for `t >= 0` without loss of digits near 0; its gradient at `t <= 0` is 0."""
    return 2 * torch.asinh(safe_sqrt(t / 2))


def odd_ratio(function: Callable[[Tensor], Tensor], square: Tensor) -> Tensor:
    """`function(n) / n` of `n = sqrt(square)` for an odd function with slope 1 at 0; smooth at 0."""
    n = square.clamp_min(TINY).sqrt()
    return function(n) / n


def limit(limits: dict[torch.dtype, float], dtype: torch.dtype) -> float:
    """The limit for this dtype; raises FmlabError for half precision."""
    if dtype not in limits:
        raise FmlabError(f"points of a manifold must be float32 or float64, got {dtype}")
    return limits[dtype]


def check_curvature(curvature: float | Tensor, of: str) -> None:
    """Raise FmlabError unless it is positive and finite; of a tensor only the shape is looked at, not the number."""
    if isinstance(curvature, Tensor):
        if curvature.dim():
            raise FmlabError(f"curvature must be a number or a scalar, got a tensor of shape {tuple(curvature.shape)}")
    elif not 0 < curvature < float("inf"):
        raise FmlabError(f"curvature must be positive: {of}, got {curvature}")


def in_double(curvature: float | Tensor) -> float | Tensor:
    """The curvature as the arithmetic inside reads it."""
    return curvature.double() if isinstance(curvature, Tensor) else curvature
