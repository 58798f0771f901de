"""Spaces of constant curvature in stereographic coordinates: what the Poincaré ball and the sphere have in common.

Both are one set of formulas in the signed curvature (Bachmann, Bécigneul, Ganea, Constant curvature graph convolutional
networks, ICML 2020, table 1). They are written in `c = -curvature`, as hyperbolic papers write them.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from fmlab.manifolds.base import TINY, Manifold, dot, odd_ratio


class Stereographic(Manifold):
    """R^d, or the ball `c |x|^2 < 1` of it, with metric `(2 / (1 - c |x|^2))^2` times the Euclidean one."""

    @property
    @abstractmethod
    def _c(self) -> float | Tensor:
        """Minus the sectional curvature, in float64."""

    @property
    @abstractmethod
    def _size(self) -> float | Tensor:
        """The absolute sectional curvature, in float64."""

    @abstractmethod
    def _tan(self, n: Tensor) -> Tensor:
        """`tanh`, or `tan` where the curvature is positive."""

    @abstractmethod
    def _half_angle(self, square: Tensor, margins: Tensor) -> Tensor:
        """Half the distance in units of the curvature radius, over its sine or hyperbolic sine.

        `square`: `c |x - y|^2`; `margins`: `(1 - c |x|^2) (1 - c |y|^2)`. The sine squared is their ratio.
        """

    @abstractmethod
    def _within(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """The point on the same ray, at most as far out as points of `dtype` are kept."""

    def inner(self, x: Tensor, u: Tensor, w: Tensor) -> Tensor:
        """`lambda_x^2 <u, w>` with `lambda_x = 2 / (1 - c |x|^2)` (HyperML, equation 3)."""
        return (dot(u.double(), w.double()) * (2 / self._margin(x.double())).square()).squeeze(-1).to(x.dtype)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """Möbius addition (HyperML, equation 5)."""
        c, v, w = self._c, x.double(), y.double()
        vw, vv, ww = dot(v, w), dot(v, v), dot(w, w)
        total = (1 + 2 * c * vw + c * ww) * v + (1 - c * vv) * w
        return (total / (1 + 2 * c * vw + c**2 * vv * ww)).to(x.dtype)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """HyperML, equation 7."""
        v, w = x.double(), u.double()
        half = 1 / self._margin(v)
        step = w * (half * odd_ratio(self._tan, self._size * half.square() * dot(w, w)))
        return self._within(self.add(v, step), x.dtype)

    def expmap0(self, u: Tensor) -> Tensor:
        """`tan(n) / n u` with `n = sqrt(|c|) |u|`; the hyperbolic tangent in the ball."""
        w = u.double()
        return self._within(w * odd_ratio(self._tan, self._size * dot(w, w)), u.dtype)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """HyperML, equation 8, from the difference of the points."""
        c, v, w = self._c, x.double(), y.double()
        difference, a, b = w - v, self._margin(v), self._margin(w)
        square = c * dot(difference, difference)
        direction = (a * difference - square * v) / (a * b + square).clamp_min(TINY).sqrt()
        return (a / (a * b).sqrt() * self._half_angle(square, a * b) * direction).to(x.dtype)

    def transport(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        """`gyr[y, -x] u lambda_x / lambda_y`, the gyration written in the difference of the points."""
        c, v, w = self._c, x.double(), u.double()
        difference, a, b = y.double() - v, self._margin(v), self._margin(y.double())
        square, vw, dw = c * dot(difference, difference), c * dot(v, w), c * dot(difference, w)
        turned = (a * dw - square * vw) * v + ((2 * c * dot(v, difference) - a) * vw - (1 - a) * dw) * difference
        return ((w + 2 * turned / (a * b + square)) * (b / a)).to(x.dtype)

    def riemannian_gradient(self, x: Tensor, egrad: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        """`((1 - c |x|^2) / 2)^2` times the ordinary gradient (HyperML, below equation 14)."""
        return (egrad * ((self._margin(x.double()) / 2).square() * scale)).to(x.dtype)

    def gradient_norm(self, x: Tensor, egrad: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        """`(1 - c |x|^2) / 2` times the ordinary length."""
        half = self._margin(x.double()) / 2
        return scale * half * torch.linalg.vector_norm(egrad.double(), dim=-1, keepdim=True)

    def project(self, x: Tensor) -> Tensor:
        """The point on the same ray, no farther out than points of this dtype are kept."""
        return self._within(x.double(), x.dtype)

    def retract(self, x: Tensor, u: Tensor) -> Tensor:
        """A straight step in coordinates, then `project` (HyperML, equation 14)."""
        return self._within(x.double() + u.double(), x.dtype)

    def _margin(self, x: Tensor) -> Tensor:
        return 1 - self._c * dot(x, x)


def on_ray(x: Tensor, bound: float | Tensor) -> Tensor:
    """The point on the same ray, at most `bound` from the zero vector."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x * (bound / length.clamp_min(bound))
