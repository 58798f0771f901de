"""The Poincaré ball of any negative curvature."""

from dataclasses import dataclass
from math import tanh

import torch
from torch import Tensor

from fmlab.manifolds.base import TINY, arcosh1p, check_curvature, dot, in_double, limit, odd_ratio
from fmlab.manifolds.stereographic import Stereographic, on_ray

# Distance from the origin, in units of the curvature radius, that points are kept within: about where the distance
# to the rim of the ball is known to 1 % only.
RADIUS = {torch.float32: 12.0, torch.float64: 30.0}


@dataclass(frozen=True)
class Poincare(Stereographic):
    """The ball `{x : c |x|^2 < 1}` of curvature `-c`, with metric `(2 / (1 - c |x|^2))^2` times the Euclidean one.

    Paper: Vinh Tran et al., HyperML, WSDM 2020, equations 3 to 10; its `c` is `curvature` here. As `c` tends to 0,
    distances tend to `2 |x - y|`.

    Coordinates crowd at the rim: a point at distance r / sqrt(c) from the origin is stored with an error of about
    `exp(r)` roundoffs of its dtype. Points are kept within r = 12 (float32) or 30 (float64). What is computed from
    stored coordinates has a relative error below `4 exp(r)` roundoffs of float64: 1e-10 at r = 11, 1e-6 at r = 20;
    for `expmap`, r includes the length of the step.

    A ball of another curvature holds other points. Where the curvature is learned, points are therefore stored in units
    of its radius: `x / sqrt(c)` with x in the unit ball, at distances `1 / sqrt(c)` times those of `Poincare()`.

    Raises FmlabError if `curvature` is not positive and finite.
    """

    curvature: float | Tensor = 1.0

    def __post_init__(self) -> None:
        """Check the curvature."""
        check_curvature(self.curvature, "the ball of curvature -c has c > 0")

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        """Equation 9 as `arcosh(1 + 2c |x - y|^2 / ((1 - c|x|^2)(1 - c|y|^2))) / sqrt(c)`, equation 4 at c = 1."""
        c, v, w = self._c, x.double(), y.double()
        t = 2 * c * dot(v - w, v - w) / (self._margin(v) * self._margin(w))
        return (arcosh1p(t) / c**0.5).squeeze(-1).to(x.dtype)

    def scale(self, r: float | Tensor, x: Tensor) -> Tensor:
        """Möbius scalar multiplication (equation 6): `r` times as far from the origin; `r` broadcasts against `x`."""
        v = x.double()
        s = (self._c * dot(v, v)).clamp_min(TINY).sqrt()
        return (v * (torch.tanh(r * torch.atanh(s)) / s)).to(x.dtype)

    @property
    def _c(self) -> float | Tensor:
        return in_double(self.curvature)

    @property
    def _size(self) -> float | Tensor:
        return in_double(self.curvature)

    def _tan(self, n: Tensor) -> Tensor:
        return torch.tanh(n)

    def _half_angle(self, square: Tensor, margins: Tensor) -> Tensor:
        return odd_ratio(torch.asinh, square / margins)

    def _within(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return on_ray(x, tanh(limit(RADIUS, dtype) / 2) / self._c**0.5).to(dtype)
