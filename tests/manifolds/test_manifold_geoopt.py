"""Agreement with geoopt in float64, where it is accurate: points near the origin."""

import geoopt
import pytest
import torch

from fmlab.manifolds import Euclidean, Lorentz, Poincare, Product, Sphere

CURVATURES = [0.1, 1.0, 10.0]


def draw(seed, size=0.7):
    return size * torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ball_points(curvature, seed):
    x = draw(seed)
    return x / (1 + x.norm(dim=-1, keepdim=True)) * curvature**-0.5


def lift(v, c=1.0):
    return torch.cat([(1 / c + v.square().sum(-1, keepdim=True)).sqrt(), v], -1)


def lift_tangent(v, u, c=1.0):
    return torch.cat([(v * u).sum(-1, keepdim=True) / lift(v, c)[:, :1], u], -1)


def same(ours, theirs):
    """To 1e-6: where the two differ, the arithmetic of 60 digits sides with ours (test_manifold_precision)."""
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("c", CURVATURES)
def test_lorentz_distance_exponential_logarithm_and_transport_agree(c):
    """geoopt's k is the squared radius; its distance is in units of the radius."""
    ours, theirs = Lorentz(c), geoopt.Lorentz(k=1 / c)
    x, y, u = draw(0) * c**-0.5, draw(1) * c**-0.5, draw(2) * c**-0.5
    same(ours.dist(x, y), theirs.dist(lift(x, c), lift(y, c)))
    same(ours.expmap(x, u), theirs.expmap(lift(x, c), lift_tangent(x, u, c))[:, 1:])
    same(ours.logmap(x, y), theirs.logmap(lift(x, c), lift(y, c))[:, 1:])
    same(ours.transport(x, y, u), theirs.transp(lift(x, c), lift(y, c), lift_tangent(x, u, c))[:, 1:])
    same(ours.expmap0(u), theirs.expmap0(torch.cat([torch.zeros(40, 1), u], -1))[:, 1:])
    same(ours.logmap0(y), theirs.logmap0(lift(y, c))[:, 1:])


@pytest.mark.parametrize("c", CURVATURES)
def test_lorentz_gradient_agrees_through_an_ambient_loss(c):
    """geoopt differentiates in all coordinates, we in the space part; the tangent vectors are the same."""
    weight = draw(3).new_tensor([0.3, -1.0, 2.0, 0.5])
    x = draw(0).requires_grad_()
    ((lift(x, c) * weight).sum(-1) ** 2).sum().backward()
    ambient = lift(x.detach(), c).requires_grad_()
    ((ambient * weight).sum(-1) ** 2).sum().backward()
    theirs = geoopt.Lorentz(k=1 / c).egrad2rgrad(ambient.detach(), ambient.grad.clone())
    same(Lorentz(c).riemannian_gradient(x.detach(), x.grad), theirs[:, 1:])


@pytest.mark.parametrize("curvature", CURVATURES)
def test_sphere_distance_exponential_logarithm_and_transport_agree(curvature):
    ours, theirs = Sphere(curvature), geoopt.SphereProjection(k=curvature)
    x, y, u = (draw(seed, 0.5) * curvature**-0.5 for seed in (0, 1, 2))
    same(ours.dist(x, y), theirs.dist(x, y))
    same(ours.expmap(x, u), theirs.expmap(x, u))
    same(ours.logmap(x, y), theirs.logmap(x, y))
    same(ours.expmap0(u), theirs.expmap0(u))
    same(ours.logmap0(y), theirs.logmap0(y))
    same(ours.transport(x, y, u), theirs.transp(x, y, u))
    same(ours.riemannian_gradient(x, u), theirs.egrad2rgrad(x, u))
    same(ours.add(x, y), theirs.mobius_add(x, y))


def test_products_agree():
    parts = (geoopt.PoincareBall(c=2.0), 2), (geoopt.SphereProjection(k=0.5), 3), (geoopt.Euclidean(ndim=1), 2)
    theirs = geoopt.ProductManifold(*parts)
    ours = Product((Poincare(2.0), 2), (Sphere(0.5), 3), (Euclidean(), 2))
    x, y, u = (0.1 * torch.randn(40, 7, dtype=torch.float64, generator=torch.manual_seed(s)) for s in (0, 1, 2))
    same(ours.dist(x, y), theirs.dist(x, y))
    same(ours.inner(x, u, y), theirs.inner(x, u, y))
    same(ours.expmap(x, u), theirs.expmap(x, u))
    same(ours.logmap(x, y), theirs.logmap(x, y))
    same(ours.transport(x, y, u), theirs.transp(x, y, u))
    same(ours.riemannian_gradient(x, u), theirs.egrad2rgrad(x, u))


@pytest.mark.parametrize("curvature", CURVATURES)
def test_ball_distance_exponential_logarithm_and_transport_agree(curvature):
    ours, theirs = Poincare(curvature), geoopt.PoincareBall(c=curvature)
    x, y = ball_points(curvature, 0), ball_points(curvature, 1)
    u = draw(2, 0.3) * (1 - curvature * x.square().sum(-1, keepdim=True))  # geoopt clips points 1e-5 before the rim
    same(ours.dist(x, y), theirs.dist(x, y))
    same(ours.expmap(x, u), theirs.expmap(x, u))
    same(ours.logmap(x, y), theirs.logmap(x, y))
    same(ours.transport(x, y, u), theirs.transp(x, y, u))
    same(ours.riemannian_gradient(x, u), theirs.egrad2rgrad(x, u))
    same(ours.add(x, y), theirs.mobius_add(x, y))
