"""The space in which embedding vectors live, and what an inner product of two of them is there.

A point x of a curved space stands in the ambient space of the hyperboloid or the sphere as X, the origin as O. The pair
of two points is the inner product of their displacements from the origin,

    <X - O, Y - O> = (|X - O|^2 + |Y - O|^2 - |X - Y|^2) / 2,

in the Lorentzian inner product on the hyperboloid, in the ordinary one on the sphere. In flat space this is `<x, y>`;
it is so to first order near the origin, and everywhere as the curvature tends to 0. With geodesic distances d it is

    (cosh d(o, x) + cosh d(o, y) - cosh d(x, y) - 1) / c    at curvature -c, d in radii of curvature,
    (cos d(x, y) - cos d(o, x) - cos d(o, y) + 1) / c       at curvature +c.

Minus the first, over `X_0 Y_0`, is the triangle score T of LorentzFM (AAAI 2020, equation 9). A pair is an inner
product of vectors `lift(x)` with one coordinate more, so that models which sum, share or rank by inner products do so
on every geometry, at the same cost.

`hyperboloid` and `ball` are one space in two charts: points are stored by their space coordinates or in the Poincaré
ball, which decides how optimizers step. `sphere` stores stereographic coordinates. `product` has the first third of the
coordinates on the hyperboloid, the second on the sphere and the last in flat space (Gu, Sala, Gunel, Ré, Learning
mixed-curvature representations in product spaces, ICLR 2019): pairs of the factors add up.
"""

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor, nn

from fmlab.errors import FmlabError
from fmlab.manifolds import Euclidean, LearnedCurvature, Lorentz, Manifold, ManifoldParameter, Poincare, Product, Sphere
from fmlab.nn.fm_sums import squared_norm
from fmlab.nn.init import weights_and_vectors
from fmlab.plugin.option import Range

Space = Annotated[
    Literal["euclidean", "hyperboloid", "ball", "sphere", "product"], "space in which the embedding vectors live"
]
Curvature = Annotated[float, Range(0, None, open_low=True), "absolute curvature of that space, if it is curved"]
LearnCurvature = Annotated[bool, "whether the curvature is trained, from that value on"]

_CURVED: dict[str, tuple[str, ...]] = {
    "hyperboloid": ("hyperboloid",),
    "ball": ("ball",),
    "sphere": ("sphere",),
    "product": ("hyperboloid", "sphere", "euclidean"),
}
_MANIFOLDS: dict[str, Callable[[float], Manifold]] = {"hyperboloid": Lorentz, "ball": Poincare, "sphere": Sphere}


class Geometry(nn.Module):
    """Points of a space: how they start, their vectors in the ambient space, and the inner products of these.

    In flat space nothing is computed, and the module has no parameters. Raises FmlabError for a curvature of flat
    space.
    """

    def __init__(self, space: str = "euclidean", curvature: float = 1.0, learn_curvature: bool = False) -> None:
        """`curvature`: that of each curved factor, or where it starts if it is trained."""
        super().__init__()
        if space == "euclidean" and (learn_curvature or curvature != 1):
            got = "learn_curvature=true" if learn_curvature else f"curvature={curvature}"
            curved = ", ".join(_CURVED)
            raise FmlabError(
                f"a curvature is that of a curved geometry, got geometry=euclidean with {got}; {curved} are curved"
            )
        self.space, self.curvature = space, curvature
        self.learned = nn.ModuleList(LearnedCurvature(curvature) for _ in range(learn_curvature * _n_curved(space)))

    @property
    def flat(self) -> bool:
        """Whether vectors are what is stored."""
        return self.space == "euclidean"

    def table(self, rows: Tensor, *, first: int = 0) -> Tensor:
        """Rows whose numbers from `first` on are flat vectors -> the parameter that starts with the points of these.

        A point is as far from the origin as its vector is long, in the same direction.
        """
        if self.flat:
            return rows
        vectors, parts = rows[:, first:].clone(), self._parts(rows.shape[1] - first)
        for part in parts:  # where the curvature is trained, points are stored in units of its radius
            if self.learned and part.space != "euclidean":
                vectors[:, part.start : part.stop] *= self.curvature**0.5
        points = torch.cat([rows[:, :first], self.point(vectors)], 1)
        factors = [(self._manifold(p.space), p.stop - p.start) for p in parts]
        whole: list[tuple[Manifold, int]] = [*([(Euclidean(), first)] if first else []), *factors]
        return ManifoldParameter(points, whole[0][0] if len(whole) == 1 else Product(*whole))

    def weights_and_vectors(self, rows: int, dim: int, std: float) -> Tensor:
        """`[rows, 1 + dim]`: the first-order weight, 0, beside the point of a vector from N(0, std)."""
        return self.table(weights_and_vectors(rows, dim, std), first=1)

    def lift(self, points: Tensor, *, first: int = 0) -> Tensor:
        """Displacements from the origin in the ambient space: `[*, first + dim]` -> `[*, first + width]`.

        Numbers before `first` are left as they are.
        """
        if self.flat:
            return points
        spaces, times, learned = [points[..., :first]], [], iter(self.learned)
        for part in self._parts(points.shape[-1] - first):
            x = points[..., first + part.start : first + part.stop]
            if part.space == "euclidean":
                spaces.append(x)
                continue
            trained = next(learned, None)
            space, time = _ambient(part.space, x, self.curvature if trained is None else 1.0)
            size = None if trained is None else trained().to(x.dtype).rsqrt()
            spaces.append(space if size is None else space * size)
            times.append(time if size is None else time * size)
        return torch.cat([*spaces, *reversed(times)], -1)  # the time of the hyperboloid is the last

    def signed(self, lifted: Tensor) -> Tensor:
        """The other side of an inner product: the time of the hyperboloid counts negative."""
        if self.space in ("euclidean", "sphere"):
            return lifted
        return torch.cat([lifted[..., :-1], -lifted[..., -1:]], -1)

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """The pairs of lifted vectors, `[*batch, width]` each -> `[*batch]`."""
        return (a * self.signed(b)).sum(-1)

    def square(self, lifted: Tensor) -> Tensor:
        """The pair of each lifted vector with itself, `[*batch]`."""
        if self.flat:
            return squared_norm(lifted)
        return self.signed(lifted.square()).sum(-1)

    def tangent(self, points: Tensor) -> Tensor:
        """Tangent vectors at the origin `[*, dim]`, as long as the points are far, in units of a trained radius."""
        return self._by_part(points, lambda manifold, x, unit: manifold.logmap0(x) / unit)

    def point(self, tangent: Tensor) -> Tensor:
        """The inverse of `tangent`."""
        return self._by_part(tangent, lambda manifold, v, unit: manifold.expmap0(v * unit))

    def width(self, dim: int) -> int:
        """Coordinates of a lifted vector."""
        return lifted_width(self.space, dim)

    def _manifold(self, space: str) -> Manifold:
        if space == "euclidean":
            return Euclidean()
        return _MANIFOLDS[space](1.0 if self.learned else self.curvature)

    def _parts(self, dim: int) -> list["_Part"]:
        return _parts(self.space, dim)

    def _by_part(self, x: Tensor, change: Callable[[Manifold, Tensor, float], Tensor]) -> Tensor:
        if self.flat:
            return x
        # The metric of stereographic coordinates is 4 times the ordinary one at the origin.
        parts = [
            change(self._manifold(p.space), x[..., p.start : p.stop], 0.5 if p.space in ("ball", "sphere") else 1.0)
            for p in self._parts(x.shape[-1])
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


class _Part(NamedTuple):
    """Coordinates `start` to `stop` of a point, which are those of a factor."""

    space: str
    start: int
    stop: int


def lifted_width(space: str, dim: int) -> int:
    """Coordinates of the ambient vector of a point: one more for each curved factor."""
    return dim + _n_curved(space)


def n_curvatures(space: str, learn_curvature: bool) -> int:
    """Curvatures that are trained."""
    return learn_curvature * _n_curved(space)


def _n_curved(space: str) -> int:
    return sum(factor != "euclidean" for factor in _CURVED.get(space, ()))


def _parts(space: str, dim: int) -> list[_Part]:
    factors = _CURVED[space]
    if dim < len(factors):
        raise FmlabError(f"geometry={space} has {', '.join(factors)}, each with a coordinate or more; got dim={dim}")
    stops = [dim * (n + 1) // len(factors) for n in range(len(factors))]
    return [_Part(f, start, stop) for f, start, stop in zip(factors, [0, *stops], stops, strict=False)]


def _ambient(space: str, x: Tensor, curvature: float) -> tuple[Tensor, Tensor]:
    """Space and time of the displacement from the origin, `[*, dim]` and `[*, 1]`; that of the sphere is negated."""
    root = curvature**0.5
    square = (x * x).sum(-1, keepdim=True)
    if space == "hyperboloid":
        return x, root * square / (1 + (1 + curvature * square).sqrt())
    if space == "sphere":
        scale = 2 / (1 + curvature * square)
        return scale * x, root * square * scale
    margin = 1 - curvature * x.double().square().sum(-1, keepdim=True)  # digits cancel near the rim of the ball
    scale = (2 / margin).to(x.dtype)
    return scale * x, root * square * scale
