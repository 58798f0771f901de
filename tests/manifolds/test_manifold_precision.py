"""Every operation against 60 digits: radius up to 20, gaps from 1e-6 to 10 (up to 3 on the sphere, which ends at pi),
curvature 0.1, 1 and 10.

Inputs are first rounded to the dtype, so that what is measured is the computation, not the storage. The bounds are
those that the classes document: float32 results are right to its own roundoff, float64 ones to `exp(r)` roundoffs, on
the sphere to 1e-12 (transport: 1e-10)."""

import itertools
import math

import manifold_oracle as oracle
import pytest
import torch
from mpmath import mpf

from fmlab.manifolds import Lorentz, Poincare, Sphere

RADII = [0.0, 0.5, 2.0, 5.0, 9.0, 12.0, 16.0, 20.0]
GAPS = [1e-6, 1e-3, 0.1, 1.0, 10.0]
SPHERE_RADII = [0.0, 0.1, 0.5, 1.0, 1.7, 2.5, 3.05]
SPHERE_GAPS = [1e-6, 1e-3, 0.1, 1.0, 2.0, 3.0]
DIRECTIONS = [(1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.6, -0.64, 0.48)]
AXIS = [mpf(a) / 13 for a in (3, 4, 12)]
ACROSS = [mpf(a) / 5 for a in (4, -3, 0)]
THIRD = [mpf(a) / 65 for a in (36, 48, -25)]
LIMITS = {(Lorentz, torch.float32): 40, (Lorentz, torch.float64): 100}
LIMITS |= {(Poincare, torch.float32): 12, (Poincare, torch.float64): 30}
LIMITS |= {(Sphere, torch.float32): 3.1, (Sphere, torch.float64): 3.1}
CASES = [kind(c) for kind in (Lorentz, Poincare, Sphere) for c in (0.1, 1.0, 10.0)]
ORACLES = {Lorentz: oracle.Hyperboloid, Poincare: oracle.Ball, Sphere: oracle.Globe}


def oracle_of(manifold):
    return ORACLES[type(manifold)](manifold.curvature)


def bound(manifold, dtype, radius):
    floor = 1e-6 if dtype == torch.float32 else 1e-12 if isinstance(manifold, Sphere) else 1e-13
    return max(floor, 4 * torch.finfo(torch.float64).eps * math.exp(radius))


def grid(manifold, dtype):
    """Pairs of points within the manifold's radius of the dtype, with the larger radius in units of curvature."""
    exact, root = oracle_of(manifold), mpf(manifold.curvature) ** 0.5
    origin = [mpf(0)] * 3
    pairs, radii = [], []
    radii_wanted, gaps = (SPHERE_RADII, SPHERE_GAPS) if isinstance(manifold, Sphere) else (RADII, GAPS)
    for r, gap, (a, b, z) in itertools.product(radii_wanted, gaps, DIRECTIONS):
        x = exact.exp(origin, oracle.times(r / root / exact.inner(origin, AXIS, AXIS) ** 0.5, AXIS))
        raw = oracle.add(oracle.times(a, AXIS), oracle.add(oracle.times(b, ACROSS), oracle.times(z, THIRD)))
        y = exact.exp(x, oracle.times(gap / root / exact.inner(x, raw, raw) ** 0.5, raw))
        pair = torch.tensor([[float(t) for t in p] for p in (x, y)], dtype=torch.float64).to(dtype)
        if isinstance(exact, oracle.Ball) and max(root * oracle.size(oracle.vec(p)) for p in pair) >= 1:
            continue
        far = max(float(root * exact.dist(origin, oracle.vec(p))) for p in pair)
        if far <= LIMITS[type(manifold), dtype] and not torch.equal(*pair):
            pairs.append(pair)
            radii.append(far)
    return *torch.stack(pairs, 1), radii


@pytest.fixture(scope="module", params=[(m, d) for m in CASES for d in (torch.float32, torch.float64)], ids=str)
def case(request):
    manifold, dtype = request.param
    return manifold, dtype, oracle_of(manifold), *grid(manifold, dtype)


def test_the_grid_reaches_the_documented_radius(case):
    manifold, dtype, _, x, _, radii = case
    assert max(radii) > min(LIMITS[type(manifold), dtype], 20) - 0.5
    assert len(x) > 80


def test_distance(case):
    manifold, dtype, exact, x, y, radii = case
    for got, a, b, r in zip(manifold.dist(x, y), x, y, radii, strict=True):
        expected = exact.dist(oracle.vec(a), oracle.vec(b))
        assert abs(mpf(got.item()) / expected - 1) <= bound(manifold, dtype, r), (a, b, r)


def test_gradient_of_distance_is_the_unit_vector_away(case):
    manifold, dtype, exact, x, y, radii = case
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    gx, gy = torch.autograd.grad(manifold.dist(x, y).sum(), (x, y))
    for p, q, g in ((x, y, gx), (y, x, gy)):
        p, q = p.detach(), q.detach()
        for a, b, rgrad, r in zip(p, q, manifold.riemannian_gradient(p.double(), g.double()), radii, strict=True):
            a, b = oracle.vec(a), oracle.vec(b)
            away = oracle.times(-1 / exact.dist(a, b), exact.log(a, b))
            error = oracle.add(oracle.vec(rgrad), oracle.times(-1, away))
            # A float32 partial derivative, rounded, is a covector: its error counts by the inverse metric.
            stretch = math.exp(r) if isinstance(manifold, Lorentz) and dtype == torch.float32 else 1
            assert exact.inner(a, error, error) ** 0.5 <= stretch * bound(manifold, dtype, r), (a, b, r)


def test_logarithm(case):
    manifold, _, exact, x, y, radii = case
    for got, a, b, r in zip(manifold.logmap(x.double(), y.double()), x, y, radii, strict=True):
        a, b = oracle.vec(a), oracle.vec(b)
        error = oracle.relative(exact, a, oracle.vec(got), exact.log(a, b))
        assert error <= bound(manifold, torch.float64, r), (a, b, r)


def test_transport(case):
    manifold, _, exact, x, y, radii = case
    u = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = u / manifold.norm(x.double(), u).unsqueeze(-1)
    for got, a, b, w, r in zip(manifold.transport(x.double(), y.double(), u), x, y, u, radii, strict=True):
        a, b, w = oracle.vec(a), oracle.vec(b), oracle.vec(w)
        worst = 100 if isinstance(manifold, Sphere) else 1
        error = oracle.relative(exact, b, oracle.vec(got), exact.transport(a, b, w))
        assert error <= worst * bound(manifold, torch.float64, r), (a, b, r)


def test_exponential(case):
    """Off by no more than a roundoff in the tangent vector sweeps over a sphere of the step's radius."""
    manifold, _, exact, x, y, _ = case
    u = manifold.logmap(x.double(), y.double())
    unit, origin = manifold.curvature**-0.5, [mpf(0)] * 3
    for got, a, w in zip(manifold.expmap(x.double(), u), x, u, strict=True):
        a, w = oracle.vec(a), oracle.vec(w)
        reach = (exact.dist(origin, a) + exact.inner(a, w, w) ** 0.5) / unit
        assert exact.dist(oracle.vec(got), exact.exp(a, w)) <= unit * bound(manifold, torch.float64, reach), (a, w)


@pytest.mark.parametrize("manifold", CASES, ids=str)
@pytest.mark.parametrize("radius", [0.5, 1.5, 3.0, 11.0])
def test_distance_of_points_on_opposite_sides_of_the_origin(manifold, radius):
    if isinstance(manifold, Sphere) and radius > 3:
        pytest.skip("no point of the sphere is farther away than pi")
    exact, origin = oracle_of(manifold), [mpf(0)] * 3
    unit = manifold.curvature**-0.5
    for other in (radius, radius * 0.9, radius + 0.01):
        ends = []
        for r in (radius, -other):
            length = exact.inner(origin, AXIS, AXIS) ** 0.5
            point = exact.exp(origin, oracle.times(unit * r / length, AXIS))
            ends.append(torch.tensor([float(t) for t in point], dtype=torch.float64))
        expected = exact.dist(*(oracle.vec(p) for p in ends))
        assert abs(mpf(manifold.dist(*ends).item()) / expected - 1) < bound(manifold, torch.float64, radius) / 4
