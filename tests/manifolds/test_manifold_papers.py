"""The formulas of the papers as printed: LorentzFM equations 11 and 12, HyperML equations 4 to 9."""

import manifold_oracle as oracle
import pytest
import torch
from mpmath import acosh, mpf

from fmlab.manifolds import Lorentz, Poincare, Product, Sphere


def draw(*shape, seed=0, size=1.0):
    return size * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ball_points(curvature, count=20, seed=0):
    x = draw(count, 4, seed=seed)
    radius = torch.linspace(0.01, 0.95, count, dtype=torch.float64).unsqueeze(-1)
    return x / x.norm(dim=-1, keepdim=True) * radius * curvature**-0.5


@pytest.mark.parametrize("curvature", [0.1, 1.0, 10.0])
def test_gradient_in_the_chart_is_the_ambient_gradient_projected_on_the_tangent_space(curvature):
    """A function of all K coordinates has partials (f0, fs); in the chart its partials are fs + f0 v / v0."""
    exact = oracle.Hyperboloid(curvature)
    points, partials = draw(20, 4, size=2.0), draw(20, 5, seed=1)
    time = (1 / curvature + points.square().sum(-1, keepdim=True)).sqrt()
    chart = partials[:, 1:] + partials[:, :1] * points / time
    for v, f, got in zip(points, partials, Lorentz(curvature).riemannian_gradient(points, chart), strict=True):
        v = oracle.vec(v)
        assert oracle.relative(exact, v, oracle.vec(got), exact.ambient_gradient(v, oracle.vec(f))) < 1e-13


@pytest.mark.parametrize("c", [0.1, 1.0, 10.0])
def test_length_of_the_gradient_in_the_chart_has_the_closed_form(c):
    v, g = draw(50, 3, size=3.0), draw(50, 3, seed=1)
    expected = (g.square().sum(-1) + c * (v * g).sum(-1).square()).sqrt()
    torch.testing.assert_close(Lorentz(c).norm(v, Lorentz(c).riemannian_gradient(v, g)), expected, rtol=1e-11, atol=0)


@pytest.mark.parametrize("curvature", [0.1, 1.0, 10.0])
def test_mobius_addition_and_multiplication_are_equations_5_and_6(curvature):
    exact, ball = oracle.Ball(curvature), Poincare(curvature)
    x, y = ball_points(curvature), ball_points(curvature, seed=1)
    for a, b, total, triple in zip(x, y, ball.add(x, y), ball.scale(3.0, x), strict=True):
        a, b = oracle.vec(a), oracle.vec(b)
        for got, expected in ((total, exact.add(a, b)), (triple, exact.scale(3, a))):
            assert oracle.size(oracle.add(oracle.vec(got), oracle.times(-1, expected))) * curvature**0.5 < 1e-14


def test_mobius_multiplication_multiplies_the_distance_from_the_origin():
    ball, x = Poincare(2.0), ball_points(2.0)
    zero = torch.zeros_like(x)
    torch.testing.assert_close(ball.dist(zero, ball.scale(2.5, x)), 2.5 * ball.dist(zero, x), rtol=1e-10, atol=0)
    assert torch.equal(ball.scale(3.0, zero), zero)


def test_distance_at_curvature_one_is_equation_4():
    for a, b in zip(ball_points(1.0), ball_points(1.0, seed=1), strict=True):
        x, y = oracle.vec(a), oracle.vec(b)
        gap = oracle.add(x, oracle.times(-1, y))
        t = 2 * oracle.dot(gap, gap) / ((1 - oracle.dot(x, x)) * (1 - oracle.dot(y, y)))
        assert abs(mpf(Poincare(1.0).dist(a, b).item()) / acosh(1 + t) - 1) < 1e-14


def test_distance_tends_to_twice_the_euclidean_one_as_the_space_flattens():
    x, y = draw(50, 4), draw(50, 4, seed=1)
    torch.testing.assert_close(Poincare(1e-12).dist(x, y), 2 * (x - y).norm(dim=-1), rtol=1e-10, atol=0)
    torch.testing.assert_close(Poincare(1e-12).expmap(x, y), x + y, rtol=0, atol=1e-10)
    torch.testing.assert_close(Sphere(1e-12).dist(x, y), 2 * (x - y).norm(dim=-1), rtol=1e-10, atol=0)
    torch.testing.assert_close(Lorentz(1e-12).dist(x, y), (x - y).norm(dim=-1), rtol=1e-10, atol=0)


def test_points_of_the_sphere_that_project_to_opposite_points_are_half_a_circle_apart():
    x = draw(50, 4)
    antipode = -x / (2.0 * x.square().sum(-1, keepdim=True))
    half = torch.full((50,), torch.pi / 2**0.5, dtype=torch.float64)
    torch.testing.assert_close(Sphere(2.0).dist(x, antipode), half, rtol=1e-14, atol=0)


def test_a_product_adds_squared_distances_of_its_factors():
    """Gu et al., ICLR 2019, section 3."""
    x, y = 0.3 * draw(20, 5), 0.3 * draw(20, 5, seed=1)
    product = Product((Lorentz(0.5), 2), (Poincare(2.0), 1), (Sphere(3.0), 2))
    squares = [
        Lorentz(0.5).dist(x[:, :2], y[:, :2]) ** 2,
        Poincare(2.0).dist(x[:, 2:3], y[:, 2:3]) ** 2,
        Sphere(3.0).dist(x[:, 3:], y[:, 3:]) ** 2,
    ]
    torch.testing.assert_close(product.dist(x, y), sum(squares).sqrt(), rtol=1e-14, atol=0)


@pytest.mark.parametrize("c", [0.1, 1.0, 10.0])
def test_the_two_models_of_the_hyperbolic_plane_are_isometric(c):
    v, w = draw(30, 3, size=2.0), draw(30, 3, seed=1, size=2.0)
    p, q = (a / (1 + (1 + c * a.square().sum(-1, keepdim=True)).sqrt()) for a in (v, w))
    torch.testing.assert_close(Lorentz(c).dist(v, w), Poincare(c).dist(p, q), rtol=1e-10, atol=0)


def test_lorentz_exponential_of_norm_80_is_finite_in_float32():
    v = torch.tensor([[0.0, 0.0], [3.0, -4.0]])
    for length in (40.0, 80.0):
        u = torch.tensor([[0.6, 0.8]]) * length
        assert Lorentz().expmap(v, u).isfinite().all()
    torch.testing.assert_close(
        Lorentz().expmap(v[:1], u / 4)[0].norm().log(), torch.tensor(20.0) - torch.tensor(2.0).log()
    )
