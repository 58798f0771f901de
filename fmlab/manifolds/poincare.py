"""The Poincaré ball of any negative curvature."""

from dataclasses import dataclass
from math import tanh

import torch
from torch import Tensor

from fmlab.errors import FmlabError
from fmlab.manifolds.base import TINY, Manifold, arcosh1p, dot, limit, over

# Distance from the origin, in units of the curvature radius, that points are kept within: about where the distance
# to the rim of the ball is known to 1 % only.
RADIUS = {torch.float32: 12.0, torch.float64: 30.0}


@dataclass(frozen=True)
class Poincare(Manifold):
    """The ball `{x : c |x|^2 < 1}` of curvature `-c`, with metric `(2 / (1 - c |x|^2))^2` times the Euclidean one.

    Paper: Vinh Tran et al., HyperML, WSDM 2020, equations 3 to 10; its `c` is `curvature` here. As `c` tends to 0,
    distances tend to `2 |x - y|`.

    Coordinates crowd at the rim: a point at distance r / sqrt(c) from the origin is stored with an error of about
    `exp(r)` roundoffs of its dtype. Points are kept within r = 12 (float32) or 30 (float64). What is computed from
    stored coordinates has a relative error below `4 exp(r)` roundoffs of float64: 1e-10 at r = 11, 1e-6 at r = 20;
    for `exp`, r includes the length of the step.

    Raises FmlabError if `curvature` is not positive and finite.
    """

    curvature: float = 1.0

    def __post_init__(self) -> None:
        """Check the curvature."""
        if not 0 < self.curvature < float("inf"):
            raise FmlabError(f"curvature must be positive: the ball of curvature -c has c > 0, got {self.curvature}")

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        """Equation 9 as `arcosh(1 + 2c |x - y|^2 / ((1 - c|x|^2)(1 - c|y|^2))) / sqrt(c)`, equation 4 at c = 1."""
        v, w = x.double(), y.double()
        t = 2 * self.curvature * dot(v - w, v - w) / (self._margin(v) * self._margin(w))
        return (arcosh1p(t) / self.curvature**0.5).squeeze(-1).to(x.dtype)

    def inner(self, x: Tensor, u: Tensor, w: Tensor) -> Tensor:
        """`lambda_x^2 <u, w>` with `lambda_x = 2 / (1 - c |x|^2)` (equation 3)."""
        return (dot(u.double(), w.double()) * (2 / self._margin(x.double())).square()).squeeze(-1).to(x.dtype)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """Möbius addition (equation 5)."""
        c, v, w = self.curvature, x.double(), y.double()
        vw, vv, ww = dot(v, w), dot(v, v), dot(w, w)
        total = (1 + 2 * c * vw + c * ww) * v + (1 - c * vv) * w
        return (total / (1 + 2 * c * vw + c**2 * vv * ww)).to(x.dtype)

    def scale(self, r: float | Tensor, x: Tensor) -> Tensor:
        """Möbius scalar multiplication (equation 6): `r` times as far from the origin; `r` broadcasts against `x`."""
        v = x.double()
        s = (self.curvature * dot(v, v)).clamp_min(TINY).sqrt()
        return (v * (torch.tanh(r * torch.atanh(s)) / s)).to(x.dtype)

    def exp(self, x: Tensor, u: Tensor) -> Tensor:
        """Equation 7, kept within the ball."""
        return self._within(self._exp(x.double(), u.double()), x.dtype)

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """Equation 8, from the difference of the points."""
        c, v, w = self.curvature, x.double(), y.double()
        difference, a, b = w - v, self._margin(v), self._margin(w)
        square = c * dot(difference, difference)
        direction = (a * difference - square * v) / (a * b + square).sqrt()
        return (a / (a * b).sqrt() * over(torch.asinh, square / (a * b)) * direction).to(x.dtype)

    def transport(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        """`gyr[y, -x] u lambda_x / lambda_y`, the gyration written in the difference of the points."""
        c, v, w = self.curvature, x.double(), u.double()
        difference, a, b = y.double() - v, self._margin(v), self._margin(y.double())
        square, vw, dw = c * dot(difference, difference), c * dot(v, w), c * dot(difference, w)
        turned = (a * dw - square * vw) * v + ((2 * c * dot(v, difference) - a) * vw - (1 - a) * dw) * difference
        return ((w + 2 * turned / (a * b + square)) * (b / a)).to(x.dtype)

    def gradient(self, x: Tensor, egrad: Tensor) -> Tensor:
        """`((1 - c |x|^2) / 2)^2` times the ordinary gradient (HyperML, below equation 14)."""
        return (egrad * (self._margin(x.double()) / 2).square()).to(x.dtype)

    def slope(self, x: Tensor, egrad: Tensor) -> Tensor:
        """`(1 - c |x|^2) / 2` times the ordinary length."""
        return self._margin(x.double()) / 2 * torch.linalg.vector_norm(egrad.double(), dim=-1, keepdim=True)

    def project(self, x: Tensor) -> Tensor:
        """The point on the same ray, at most at distance 12 / sqrt(c) (float32) or 30 / sqrt(c) from the origin."""
        return self._within(x.double(), x.dtype)

    def descend(
        self, x: Tensor, egrad: Tensor, lr: float | Tensor, *, exact: bool = False, max_norm: float = 1.0
    ) -> Tensor:
        """Equation 14: a straight step, clipped into the ball; with `exact` the exponential map instead."""
        v, g = x.double(), egrad.double()
        half = self._margin(v) / 2
        length = lr * half * torch.linalg.vector_norm(g, dim=-1, keepdim=True)
        u = g * (half.square() * (-lr * (max_norm / length).clamp_max(1.0)))
        return self._within(self._exp(v, u) if exact else v + u, x.dtype)

    def _exp(self, v: Tensor, u: Tensor) -> Tensor:
        half = 1 / self._margin(v)
        return self.add(v, u * (half * over(torch.tanh, self.curvature * half.square() * dot(u, u))))

    def _margin(self, x: Tensor) -> Tensor:
        return 1 - self.curvature * dot(x, x)

    def _within(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        bound = tanh(limit(RADIUS, dtype) / 2) / self.curvature**0.5
        return (x * (bound / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(bound))).to(dtype)
