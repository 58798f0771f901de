"""The hyperboloid, stored by its space coordinates."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fmlab.manifolds.base import TINY, Manifold, arcosh1p, check_curvature, dot, in_double, limit, odd_ratio

# Coordinates are kept within sinh of these radii, so that products of two of them stay finite in the same dtype.
RADIUS = {torch.float32: 40.0, torch.float64: 100.0}
COORDINATE = {dtype: float(torch.tensor(radius).double().sinh()) for dtype, radius in RADIUS.items()}


@dataclass(frozen=True)
class Lorentz(Manifold):
    """Hyperbolic space of curvature `-c`, `{v : -v0^2 + |v|^2 = -1/c, v0 > 0}`, in the chart of its space part `v`.

    `v0 = sqrt(1/c + |v|^2)` is always computed, never stored: there is no constraint to drift from, and every vector of
    R^d is a point, whatever c is. A tangent vector is stored by its space part `u` as well; its time part is
    `<u, v> / v0`. In this chart the inverse metric is `I + c v v^T`, so an ordinary gradient `g` in `v` (through `v0`
    by the chain rule) has the Riemannian gradient `g + c v <v, g>`, of squared length `|g|^2 + c <v, g>^2`. That is the
    same tangent vector as "ambient gradient times the Lorentz metric, projected on the tangent space" (LorentzFM,
    equation 12).

    `curvature` is c, the absolute value of the sectional curvature. `sqrt(c)` times a point is a point of the unit
    hyperboloid, whose lengths are `sqrt(c)` times as large. In such units relative errors stay below `4 exp(r)`
    roundoffs of float64, r being the distance to the origin: 1e-10 at r = 11, 1e-6 at r = 20. `expmap` is as good as
    its tangent vector is stored: for it, r includes the length of the step. Points stay within r = 40 (float32) or 100
    (float64) in every coordinate.

    Raises FmlabError if `curvature` is not positive and finite.
    """

    curvature: float | Tensor = 1.0

    def __post_init__(self) -> None:
        """Check the curvature."""
        check_curvature(self.curvature, "the hyperboloid of curvature -c has c > 0")

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        """`arcosh(c (x0 y0 - <x, y>)) / sqrt(c)`."""
        return self._back(arcosh1p(_gap(x, y, self._root))).squeeze(-1).to(x.dtype)

    def inner(self, x: Tensor, u: Tensor, w: Tensor) -> Tensor:
        """`<u, w> - <x, u> <x, w> / x0^2`, summed across and along `x` so that nothing cancels."""
        v, u, w = self._unit(x), u.double(), w.double()
        square = dot(v, v)
        xu, xw, safe = dot(v, u), dot(v, w), square.clamp_min(TINY)
        across = dot(u - v * (xu / safe), w - v * (xw / safe))
        return (across + xu * xw / (safe * (1 + square))).squeeze(-1).to(x.dtype)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """`cosh(n) x + sinh(n)/n u` with `n = sqrt(c) |u|` (LorentzFM, equation 11)."""
        v, t = self._unit(x), self._unit(u)
        square = self.inner(x.double(), t, t).unsqueeze(-1)
        y = torch.cosh(square.clamp_min(TINY).sqrt()) * v + odd_ratio(torch.sinh, square) * t
        return self._within(y, x.dtype)

    def expmap0(self, u: Tensor) -> Tensor:
        """`sinh(n)/n u` with `n = sqrt(c) |u|`."""
        t = self._unit(u)
        return self._within(odd_ratio(torch.sinh, dot(t, t)) * t, u.dtype)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """`n / sinh(n) (y - cosh(n) x)` with `n = sqrt(c) dist(x, y)`."""
        v, w = x.double(), y.double()
        t = _gap(v, w, self._root)
        shrink = 1 / odd_ratio(torch.sinh, arcosh1p(t).square())
        return (shrink * (w - v - t * v)).to(x.dtype)

    def transport(self, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        """`u + <y, u>_L / (1/c + x0 y0 - <x, y>) (x + y)`."""
        t, direction = _pair(x.double(), y.double(), self._root)
        inner = -dot(direction, u.double()) / _time(self._unit(x))
        return (u + inner / (2 + t) * self._unit(x.double() + y.double())).to(x.dtype)

    def riemannian_gradient(self, x: Tensor, egrad: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        """`g + c x <x, g>`."""
        v, g = self._unit(x), egrad.double()
        return ((g + v * dot(v, g)) * scale).to(x.dtype)

    def gradient_norm(self, x: Tensor, egrad: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        """`sqrt(|g|^2 + c <x, g>^2)`."""
        g = egrad.double()
        return scale * (dot(g, g) + dot(self._unit(x), g).square()).sqrt()

    def project(self, x: Tensor) -> Tensor:
        """Coordinates cut off at sinh(40) / sqrt(c) in float32, sinh(100) / sqrt(c) in float64."""
        return self._within(_times(x, self._root), x.dtype)

    def retract(self, x: Tensor, u: Tensor) -> Tensor:
        """`expmap` itself, which costs no more than another map here and is what LorentzFM steps by."""
        return self.expmap(x, u)

    @property
    def _root(self) -> float | Tensor | None:
        """`sqrt(c)`, None for 1."""
        if not isinstance(self.curvature, Tensor) and self.curvature == 1:
            return None
        return in_double(self.curvature) ** 0.5

    def _unit(self, x: Tensor) -> Tensor:
        """Coordinates on the unit hyperboloid, or lengths there, float64."""
        return _times(x.double(), self._root)

    def _back(self, x: Tensor) -> Tensor:
        """From the unit hyperboloid."""
        return x if self._root is None else x / self._root

    def _within(self, v: Tensor, dtype: torch.dtype) -> Tensor:
        """Coordinates on the unit hyperboloid, cut off and brought back."""
        bound = limit(COORDINATE, dtype)
        return self._back(v.clamp(-bound, bound)).to(dtype)


def _times(x: Tensor, root: float | Tensor | None) -> Tensor:
    return x if root is None else x * root


def _time(v: Tensor) -> Tensor:
    return (1 + dot(v, v)).sqrt()


def _pair(x: Tensor, y: Tensor, root: float | Tensor | None) -> tuple[Tensor, Tensor]:
    """`t = x0 y0 - <x, y> - 1` and `y0 x - x0 y` of `root x` and `root y` on the unit hyperboloid.

    They come from the difference of the points as they are stored, free of cancellation. With `s = x + y`,
    `S = x0 + y0`, and the difference split along and across `s`:
    `2t = (S^2 |across|^2 + 4 |along|^2) / (S^2 - |along|^2)`, and
    `2(y0 x - x0 y) = S across + (4 + 2t) / S along`.
    """
    difference, total = _times(x - y, root), _times(x + y, root)
    x, y = _times(x, root), _times(y, root)
    time = _time(x) + _time(y)
    ds = dot(difference, total)
    along = total * (ds / dot(total, total).clamp_min(TINY))
    across = difference - along
    time2, along2 = time.square(), dot(along, along)
    near = (time2 * dot(across, across) + 4 * along2) / (time2 - along2).clamp_min(2.0)
    # On opposite sides of the origin the denominator above may vanish, and the textbook form is safe.
    far = dot(difference, difference) - (ds / time).square()
    t = torch.where(dot(x, y) < 0, far, near) / 2
    # Rounding left a part of `across` along the sum, which `time` would blow up to the size of the second term.
    across = across - total * (dot(across, total) / dot(total, total).clamp_min(TINY))
    return t, (time * across + (4 + 2 * t) / time * along) / 2


class _Gap(torch.autograd.Function):
    """`t` of `_pair`; its gradients in `root x` and `root y` are `(y0 x - x0 y) / x0` and `(x0 y - y0 x) / y0`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, root: float | Tensor | None) -> Tensor:
        ctx.root = None if isinstance(root, Tensor) else root
        ctx.save_for_backward(x, y, root if isinstance(root, Tensor) else None)
        return _pair(x, y, root)[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        x, y, root = ctx.saved_tensors
        scale = ctx.root if root is None else root
        direction = grad * _pair(x, y, scale)[1]
        of_x, of_y = direction / _time(_times(x, scale)), -direction / _time(_times(y, scale))
        of_root = None if root is None else (of_x * x + of_y * y).sum()
        return _times(of_x, scale), _times(of_y, scale), of_root


def _gap(x: Tensor, y: Tensor, root: float | Tensor | None) -> Tensor:
    pair = torch.broadcast_tensors(x.double(), y.double())  # type: ignore[no-untyped-call]
    gap: Tensor = _Gap.apply(*pair, root)  # type: ignore[no-untyped-call]
    return gap
