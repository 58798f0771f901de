"""The unit hyperboloid, stored by its space coordinates."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fmlab.manifolds.base import TINY, Manifold, arcosh1p, dot, limit, over

# Coordinates are kept within sinh of these radii, so that products of two of them stay finite in the same dtype.
RADIUS = {torch.float32: 40.0, torch.float64: 100.0}
SHORT = 1e-200  # a gradient this short counts as its direction times this
COORDINATE = {dtype: float(torch.tensor(radius).double().sinh()) for dtype, radius in RADIUS.items()}


@dataclass(frozen=True)
class Lorentz(Manifold):
    """Hyperbolic space of curvature -1, `{v : -v0^2 + |v|^2 = -1, v0 > 0}`, in the chart of its space part `v`.

    `v0 = sqrt(1 + |v|^2)` is always computed, never stored: there is no constraint to drift from, and every vector of
    R^d is a point. A tangent vector is stored by its space part `u` as well; its time part is `<u, v> / v0`. In this
    chart the inverse metric is `I + v v^T`, so an ordinary gradient `g` in `v` (through `v0` by the chain rule) has
    the Riemannian gradient `g + v <v, g>`, of squared length `|g|^2 + <v, g>^2`. That is the same tangent vector as
    "ambient gradient times the Lorentz metric, projected on the tangent space" (LorentzFM, equation 12).

    Relative errors stay below `4 exp(r)` roundoffs of float64, r being the distance to the origin: 1e-10 at r = 11,
    1e-6 at r = 20. `exp` is as good as its tangent vector is stored: for it, r includes the length of the step.
    Points stay within r = 40 (float32) or 100 (float64) in every coordinate.
    """

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        """`arcosh(x0 y0 - <x, y>)`."""
        return arcosh1p(_gap(x, y)).squeeze(-1).to(x.dtype)

    def inner(self, x: Tensor, u: Tensor, w: Tensor) -> Tensor:
        """`<u, w> - <x, u> <x, w> / x0^2`, summed across and along `x` so that nothing cancels."""
        v, u, w = x.double(), u.double(), w.double()
        square = dot(v, v)
        xu, xw, safe = dot(v, u), dot(v, w), square.clamp_min(TINY)
        across = dot(u - v * (xu / safe), w - v * (xw / safe))
        return (across + xu * xw / (safe * (1 + square))).squeeze(-1).to(x.dtype)

    def exp(self, x: Tensor, u: Tensor) -> Tensor:
        """`cosh(n) x + sinh(n)/n u` with `n = |u|` (LorentzFM, equation 11)."""
        v, u = x.double(), u.double()
        square = self.inner(v, u, u).unsqueeze(-1)
        y = torch.cosh(square.clamp_min(TINY).sqrt()) * v + over(torch.sinh, square) * u
        return _within(y, x.dtype)

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """`d / sinh(d) (y - cosh(d) x)` with `d = dist(x, y)`."""
        v, w = x.double(), y.double()
        t = _gap(v, w)
        shrink = 1 / over(torch.sinh, arcosh1p(t).square())
        return (shrink * (w - v - t * v)).to(x.dtype)

    def transport(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        """`u + <y, u>_L / (1 + x0 y0 - <x, y>) (x + y)`."""
        v, w = x.double(), y.double()
        t, direction = _pair(v, w)
        inner = -dot(direction, u.double()) / _time(v)
        return (u + inner / (2 + t) * (v + w)).to(x.dtype)

    def gradient(self, x: Tensor, egrad: Tensor) -> Tensor:
        """`g + x <x, g>`."""
        v, g = x.double(), egrad.double()
        return (g + v * dot(v, g)).to(x.dtype)

    def slope(self, x: Tensor, egrad: Tensor) -> Tensor:
        """`sqrt(|g|^2 + <x, g>^2)`."""
        g = egrad.double()
        return (dot(g, g) + dot(x, g).square()).sqrt()

    def project(self, x: Tensor) -> Tensor:
        """Coordinates cut off at sinh(40) in float32, sinh(100) in float64."""
        return _within(x, x.dtype)

    def descend(
        self, x: Tensor, egrad: Tensor, lr: float | Tensor, *, exact: bool = False, max_norm: float = 1.0
    ) -> Tensor:
        """The exponential map of `-lr` times the gradient; `exact` changes nothing."""
        v, g = x.double(), egrad.double()
        radial = dot(v, g)
        norm = torch.hypot(torch.linalg.vector_norm(g, dim=-1, keepdim=True), radial).clamp_min(SHORT)
        length = (lr * norm).clamp_max(max_norm)
        per_unit = torch.sinh(length) / norm
        return _within(v * (torch.cosh(length) - per_unit * radial) - per_unit * g, x.dtype)


def _time(v: Tensor) -> Tensor:
    return (1 + dot(v, v)).sqrt()


def _within(v: Tensor, dtype: torch.dtype) -> Tensor:
    bound = limit(COORDINATE, dtype)
    return v.clamp(-bound, bound).to(dtype)


def _pair(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """`t = x0 y0 - <x, y> - 1` and `y0 x - x0 y`, from the difference of the points and free of cancellation.

    With `s = x + y`, `S = x0 + y0`, and the difference split along and across `s`:
    `2t = (S^2 |across|^2 + 4 |along|^2) / (S^2 - |along|^2)`, and
    `2(y0 x - x0 y) = S across + (4 + 2t) / S along`.
    """
    difference, total = x - y, x + y
    time = _time(x) + _time(y)
    ds = dot(difference, total)
    along = total * (ds / dot(total, total).clamp_min(TINY))
    across = difference - along
    time2, along2 = time.square(), dot(along, along)
    near = (time2 * dot(across, across) + 4 * along2) / (time2 - along2).clamp_min(2.0)
    # On opposite sides of the origin the denominator above may vanish, and the plain form is safe.
    far = dot(difference, difference) - (ds / time).square()
    t = torch.where(dot(x, y) < 0, far, near) / 2
    # Rounding left a part of `across` along the sum, which `time` would blow up to the size of the second term.
    across = across - total * (dot(across, total) / dot(total, total).clamp_min(TINY))
    return t, (time * across + (4 + 2 * t) / time * along) / 2


class _Gap(torch.autograd.Function):
    """`t` of `_pair`; its gradients are `(y0 x - x0 y) / x0` and `(x0 y - y0 x) / y0`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return _pair(x, y)[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, y = ctx.saved_tensors
        direction = grad * _pair(x, y)[1]
        return direction / _time(x), -direction / _time(y)


def _gap(x: Tensor, y: Tensor) -> Tensor:
    gap: Tensor = _Gap.apply(*torch.broadcast_tensors(x.double(), y.double()))  # type: ignore[no-untyped-call]
    return gap
