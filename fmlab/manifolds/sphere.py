"""The sphere, stored by its stereographic coordinates."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fmlab.manifolds.base import TINY, check_curvature, dot, in_double, limit, safe_sqrt
from fmlab.manifolds.stereographic import Stereographic, on_ray

# Coordinates in units of the curvature radius that points are kept within: 2e-6 and 2e-12 from the origin's antipode,
# which has none.
COORDINATE = {torch.float32: 1e6, torch.float64: 1e12}


@dataclass(frozen=True)
class Sphere(Stereographic):
    """The sphere of curvature `K > 0` and radius `1 / sqrt(K)`, with metric `(2 / (1 + K |x|^2))^2` times the flat one.

    Source: Bachmann, Bécigneul, Ganea, Constant curvature graph convolutional networks, ICML 2020, table 1; `curvature`
    is its kappa, for positive ones.

    `x` is the stereographic projection, from the antipode of the origin, of the unit vector
    `X = (1 - K |x|^2, 2 sqrt(K) x) / (1 + K |x|^2)`: there is no constraint to drift from, and every vector of R^d is a
    point. Only the antipode has no coordinates; points are kept within coordinates of 1e6 / sqrt(K) (float32) or
    1e12 / sqrt(K). Distances are at most `pi / sqrt(K)`; as K tends to 0, they tend to `2 |x - y|`. The logarithm of an
    antipode, which has no direction, is no more exact than that direction is; up to a distance of `3 / sqrt(K)`
    relative errors stay below 1e-12, of `transport` below 1e-10.

    Raises FmlabError if `curvature` is not positive and finite.
    """

    curvature: float | Tensor = 1.0

    def __post_init__(self) -> None:
        """Check the curvature."""
        check_curvature(self.curvature, "a sphere of radius r has the curvature 1 / r^2")

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        """`2 atan2(|X - Y|, |X + Y|) / sqrt(K)`, exact for neighbors and for antipodes."""
        k = in_double(self.curvature)
        v, w = x.double(), y.double()
        vv, ww, difference = k * dot(v, v), k * dot(w, w), v - w
        apart = 2 * safe_sqrt(k * dot(difference, difference) / ((1 + vv) * (1 + ww)))
        time = (1 - vv) / (1 + vv) + (1 - ww) / (1 + ww)
        space = 2 * (v / (1 + vv) + w / (1 + ww))
        together = safe_sqrt(time.square() + k * dot(space, space))
        return (2 * torch.atan2(apart, together) / k**0.5).squeeze(-1).to(x.dtype)

    @property
    def _c(self) -> float | Tensor:
        return -in_double(self.curvature)

    @property
    def _size(self) -> float | Tensor:
        return in_double(self.curvature)

    def _tan(self, n: Tensor) -> Tensor:
        return torch.tan(n)

    def _half_angle(self, square: Tensor, margins: Tensor) -> Tensor:
        sine = (-square / margins).clamp_min(TINY).sqrt()
        return torch.atan2(sine, safe_sqrt((margins + square) / margins)) / sine

    def _within(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return on_ray(x, limit(COORDINATE, dtype) / in_double(self.curvature) ** 0.5).to(dtype)
