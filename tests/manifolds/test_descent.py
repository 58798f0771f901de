"""The step that Riemannian optimizers share: along which map, how far at most, on every manifold."""

import geoopt
import manifold_oracle as oracle
import pytest
import torch
from fmlab_optimizers._descent import descend
from mpmath import mpf

from fmlab.manifolds import Euclidean, Lorentz, Poincare, Product, Sphere

CURVATURES = [0.1, 1.0, 10.0]
CURVED = [kind(c) for kind in (Lorentz, Poincare, Sphere) for c in CURVATURES]
MIXED = Product((Lorentz(0.5), 1), (Sphere(2.0), 1), (Euclidean(), 1))
MANIFOLDS = [Euclidean(), *CURVED, MIXED]


@pytest.fixture(params=MANIFOLDS, ids=str)
def manifold(request):
    return request.param


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


def unit(manifold):
    return getattr(manifold, "curvature", 1.0) ** -0.5


def draw(*shape, seed=0, size=1.0, dtype=torch.float64):
    return size * torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def points(manifold, dtype=torch.float64, rows=12):
    u = draw(rows, 3, dtype=dtype)
    return manifold.expmap0(u * (unit(manifold) / manifold.norm(torch.zeros_like(u), u).unsqueeze(-1)))


def close(a, b, tight):
    tolerance = tight if a.dtype == torch.float64 else 2e-5
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, check_dtype=True)


def test_a_step_takes_a_rate_for_each_point(manifold, dtype):
    x, egrad = points(manifold, dtype), draw(12, 3, seed=1, dtype=dtype)
    rates = torch.linspace(0.01, 0.2, 12, dtype=torch.float64)
    together = descend(manifold, x, egrad, rates.unsqueeze(-1))
    for point, g, rate, got in zip(x, egrad, rates.tolist(), together, strict=True):
        torch.testing.assert_close(got, descend(manifold, point, g, rate), check_dtype=False)


def test_a_step_follows_the_negative_gradient(manifold, dtype):
    x, egrad = points(manifold, dtype), draw(12, 3, seed=1, dtype=dtype)
    expected = manifold.expmap(x, -1e-3 * manifold.riemannian_gradient(x, egrad))
    close(descend(manifold, x, egrad, 1e-3, exponential_map=True, max_step=40.0), expected, 1e-12)
    close(descend(manifold, x, egrad, 1e-3, max_step=40.0), expected, 1e-3)


@pytest.mark.parametrize("size", [1.0, 1e10, 1e30])
@pytest.mark.parametrize("manifold", [*CURVED, MIXED], ids=str)
def test_a_step_is_no_longer_than_its_bound(manifold, dtype, size):
    x, egrad = points(manifold, dtype), draw(12, 3, seed=1, size=size, dtype=dtype)
    bound = 0.25 * unit(manifold)
    reached = descend(manifold, x, egrad, 1e3, exponential_map=True, max_step=bound)
    close(manifold.dist(x, reached), torch.full((12,), bound, dtype=dtype), 1e-11)


def test_a_point_without_gradient_stays(manifold, dtype):
    x = points(manifold, dtype)
    for exponential_map in (False, True):
        close(descend(manifold, x, torch.zeros_like(x), 1.0, exponential_map=exponential_map), x, 1e-12)


@pytest.mark.parametrize("c", CURVATURES)
def test_on_the_hyperboloid_it_is_the_exponential_map_of_the_ambient_gradient(c):
    """LorentzFM, equations 11 and 12, with 60 digits."""
    exact = oracle.Hyperboloid(c)
    x, partials = draw(20, 4, size=2.0), draw(20, 5, seed=1)
    time = (1 / c + x.square().sum(-1, keepdim=True)).sqrt()
    chart = partials[:, 1:] + partials[:, :1] * x / time
    for v, f, got in zip(x, partials, descend(Lorentz(c), x, chart, 0.1, max_step=40.0), strict=True):
        v = oracle.vec(v)
        expected = exact.exp(v, oracle.times(mpf("-0.1"), exact.ambient_gradient(v, oracle.vec(f))))
        assert exact.dist(oracle.vec(got), expected) < 1e-9


def test_on_the_ball_it_rescales_the_euclidean_gradient_and_steps_straight():
    """HyperML, equation 14 at c = 1: theta - lr (1 - |theta|^2)^2 / 4 gradient."""
    x, g = points(Poincare()), draw(12, 3, seed=1)
    expected = x - 0.01 * (1 - x.square().sum(-1, keepdim=True)).square() / 4 * g
    torch.testing.assert_close(descend(Poincare(), x, g, 0.01), expected, rtol=1e-14, atol=0)


def test_a_straight_step_is_clipped_into_the_ball():
    for dtype, radius in ((torch.float32, 12.0), (torch.float64, 30.0)):
        x, g = torch.full((1, 2), 0.5, dtype=dtype), torch.tensor([[-1e20, 0.0]], dtype=dtype)
        reached = descend(Poincare(), x, g, 1.0, max_step=1e30)
        assert reached.norm() < 1
        assert Poincare().dist(torch.zeros_like(x), reached).item() == pytest.approx(radius, rel=0.02)


def lift(v, c):
    return torch.cat([(1 / c + v.square().sum(-1, keepdim=True)).sqrt(), v], -1)


@pytest.mark.parametrize("c", CURVATURES)
def test_steps_on_the_hyperboloid_are_those_of_geoopt(c):
    weight = torch.tensor([0.3, -1.0, 2.0, 0.5], dtype=torch.float64)
    x = draw(20, 3, size=0.7 * c**-0.5).requires_grad_()
    ((lift(x, c) * weight).sum(-1) ** 2).sum().backward()
    point = geoopt.ManifoldParameter(lift(x.detach(), c), manifold=geoopt.Lorentz(k=1 / c))
    ((point * weight).sum(-1) ** 2).sum().backward()
    geoopt.optim.RiemannianSGD([point], lr=0.02).step()
    reached = descend(Lorentz(c), x.detach(), x.grad, 0.02, max_step=40.0)
    torch.testing.assert_close(reached, point.detach()[:, 1:], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("exponential_map", [False, True])
@pytest.mark.parametrize("ball", [True, False])
def test_steps_on_the_ball_and_the_sphere_are_those_of_geoopt(c, exponential_map, ball):
    kinds = {
        (True, False): geoopt.PoincareBall,
        (True, True): geoopt.PoincareBallExact,
        (False, False): geoopt.SphereProjection,
        (False, True): geoopt.SphereProjectionExact,
    }
    kind = kinds[ball, exponential_map]
    ours, theirs = (Poincare(c), kind(c=c)) if ball else (Sphere(c), kind(k=c))
    x, target = points(ours).requires_grad_(), draw(12, 3, seed=1)
    (x - target).square().sum().backward()
    point = geoopt.ManifoldParameter(x.detach().clone(), manifold=theirs)
    (point - target).square().sum().backward()
    geoopt.optim.RiemannianSGD([point], lr=0.05).step()
    reached = descend(ours, x.detach(), x.grad, 0.05, exponential_map=exponential_map, max_step=40.0)
    torch.testing.assert_close(reached, point.detach(), rtol=1e-4, atol=1e-6)
