"""Agreement with geoopt in float64, where it is accurate: points near the origin."""

import geoopt
import pytest
import torch

from fmlab.manifolds import Lorentz, Poincare

CURVATURES = [0.1, 1.0, 10.0]


def draw(seed, size=0.7):
    return size * torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ball_points(curvature, seed):
    x = draw(seed)
    return x / (1 + x.norm(dim=-1, keepdim=True)) * curvature**-0.5


def lift(v):
    return torch.cat([(1 + v.square().sum(-1, keepdim=True)).sqrt(), v], -1)


def lift_tangent(v, u):
    return torch.cat([(v * u).sum(-1, keepdim=True) / lift(v)[:, :1], u], -1)


def same(ours, theirs):
    """To 1e-6: where the two differ, the arithmetic of 60 digits sides with ours (test_manifold_precision)."""
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_lorentz_distance_exponential_logarithm_and_transport_agree():
    ours, theirs = Lorentz(), geoopt.Lorentz()
    x, y, u = draw(0), draw(1), draw(2)
    same(ours.dist(x, y), theirs.dist(lift(x), lift(y)))
    same(ours.exp(x, u), theirs.expmap(lift(x), lift_tangent(x, u))[:, 1:])
    same(ours.log(x, y), theirs.logmap(lift(x), lift(y))[:, 1:])
    same(ours.transport(x, y, u), theirs.transp(lift(x), lift(y), lift_tangent(x, u))[:, 1:])


def test_lorentz_gradient_agrees_through_an_ambient_loss():
    """geoopt differentiates in all coordinates, we in the space part; the tangent vectors are the same."""
    weight = draw(3).new_tensor([0.3, -1.0, 2.0, 0.5])
    x = draw(0).requires_grad_()
    ((lift(x) * weight).sum(-1) ** 2).sum().backward()
    ambient = lift(x.detach()).requires_grad_()
    ((ambient * weight).sum(-1) ** 2).sum().backward()
    theirs = geoopt.Lorentz().egrad2rgrad(ambient.detach(), ambient.grad.clone())
    same(Lorentz().gradient(x.detach(), x.grad), theirs[:, 1:])


def test_lorentz_descent_agrees_with_a_step_of_geoopt():
    weight = draw(3).new_tensor([0.3, -1.0, 2.0, 0.5])
    x = draw(0).requires_grad_()
    ((lift(x) * weight).sum(-1) ** 2).sum().backward()
    point = geoopt.ManifoldParameter(lift(x.detach()), manifold=geoopt.Lorentz())
    ((point * weight).sum(-1) ** 2).sum().backward()
    geoopt.optim.RiemannianSGD([point], lr=0.05).step()
    same(Lorentz().descend(x.detach(), x.grad, 0.05, max_norm=40.0), point.detach()[:, 1:])


@pytest.mark.parametrize("curvature", CURVATURES)
def test_ball_distance_exponential_logarithm_and_transport_agree(curvature):
    ours, theirs = Poincare(curvature), geoopt.PoincareBall(c=curvature)
    x, y = ball_points(curvature, 0), ball_points(curvature, 1)
    u = draw(2, 0.3) * (1 - curvature * x.square().sum(-1, keepdim=True))  # geoopt clips points 1e-5 before the rim
    same(ours.dist(x, y), theirs.dist(x, y))
    same(ours.exp(x, u), theirs.expmap(x, u))
    same(ours.log(x, y), theirs.logmap(x, y))
    same(ours.transport(x, y, u), theirs.transp(x, y, u))
    same(ours.gradient(x, u), theirs.egrad2rgrad(x, u))
    same(ours.add(x, y), theirs.mobius_add(x, y))


@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize("exact", [False, True])
def test_ball_descent_agrees_with_a_step_of_geoopt(curvature, exact):
    x, target = ball_points(curvature, 0).requires_grad_(), draw(1)
    (x - target).square().sum().backward()
    ball = (geoopt.PoincareBallExact if exact else geoopt.PoincareBall)(c=curvature)
    point = geoopt.ManifoldParameter(x.detach().clone(), manifold=ball)
    (point - target).square().sum().backward()
    geoopt.optim.RiemannianSGD([point], lr=0.05).step()
    same(Poincare(curvature).descend(x.detach(), x.grad, 0.05, exact=exact, max_norm=40.0), point.detach())
