"""What every manifold must obey, whatever its formulas are."""

import pytest
import torch

from fmlab.errors import FmlabError
from fmlab.manifolds import Euclidean, Lorentz, Poincare, Product, Sphere, arcosh1p

CURVED = [kind(c) for kind in (Lorentz, Poincare, Sphere) for c in (0.1, 1.0, 10.0)]
MIXED = Product((Lorentz(0.5), 1), (Sphere(2.0), 1), (Euclidean(), 1))
MANIFOLDS = [Euclidean(), *CURVED, MIXED]
SHAPES = [(3,), (5, 3), (2, 5, 3)]
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


@pytest.fixture(params=MANIFOLDS, ids=str)
def manifold(request):
    return request.param


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    return request.param


def unit(manifold):
    return getattr(manifold, "curvature", 1.0) ** -0.5


def tangent(manifold, x, seed=1, length=1.0):
    """Random vectors at `x`, of length up to `length` radii of curvature or so."""
    raw = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(seed))
    return raw * (length * unit(manifold) / manifold.norm(x, raw).unsqueeze(-1))


def points(manifold, shape, dtype, seed, radius=2.0):
    origin = torch.zeros(shape, dtype=dtype)
    spread = torch.rand(shape[:-1], dtype=dtype, generator=torch.Generator().manual_seed(seed)).unsqueeze(-1)
    return manifold.expmap(origin, tangent(manifold, origin, seed, radius) * spread)


def close(a, b, scale=1.0):
    assert a.dtype == b.dtype
    torch.testing.assert_close(a, b, rtol=TOLERANCE[a.dtype] * scale, atol=TOLERANCE[a.dtype] * scale)


def test_distance_is_a_metric(manifold, dtype, shape):
    x, y, z = (points(manifold, shape, dtype, seed) for seed in (1, 2, 3))
    xy, yz, xz = manifold.dist(x, y), manifold.dist(y, z), manifold.dist(x, z)
    assert xy.shape == shape[:-1]
    assert xy.dtype == dtype
    assert (xy > 0).all()
    close(xy, manifold.dist(y, x))
    assert (xz <= xy + yz + TOLERANCE[dtype]).all()


@pytest.mark.parametrize("radius", [0.0, 1.0, 6.0])
def test_distance_of_a_point_to_itself_is_zero_with_zero_gradient(manifold, dtype, shape, radius):
    x = points(manifold, shape, dtype, 1, radius).requires_grad_()
    y = x.detach().clone().requires_grad_()
    d = manifold.dist(x, y)
    assert (d == 0).all()
    d.sum().backward()
    assert (x.grad == 0).all()
    assert (y.grad == 0).all()


def test_exponential_goes_as_far_as_its_vector_is_long(manifold, dtype, shape):
    x = points(manifold, shape, dtype, 1)
    u = tangent(manifold, x, 2, 1.5)
    close(manifold.dist(x, manifold.expmap(x, u)), manifold.norm(x, u))


def test_logarithm_inverts_the_exponential(manifold, dtype, shape):
    x, y = points(manifold, shape, dtype, 1), points(manifold, shape, dtype, 2)
    u = tangent(manifold, x, 3)
    close(manifold.logmap(x, manifold.expmap(x, u)), u, 5)
    close(manifold.expmap(x, manifold.logmap(x, y)), y, 5)


def test_exponential_of_nothing_and_logarithm_of_the_same_point_stay(manifold, dtype, shape):
    for radius in (0.0, 2.0):
        x = points(manifold, shape, dtype, 1, radius)
        close(manifold.expmap(x, torch.zeros_like(x)), x)
        close(manifold.logmap(x, x), torch.zeros_like(x))


def test_maps_at_the_origin_are_the_maps_there(manifold, dtype, shape):
    y = points(manifold, shape, dtype, 1)
    zero = torch.zeros_like(y)
    close(manifold.logmap0(y), manifold.logmap(zero, y), 5)
    close(manifold.expmap0(manifold.logmap0(y)), y, 5)
    close(manifold.expmap0(y * 0.1), manifold.expmap(zero, y * 0.1), 5)
    close(manifold.expmap0(zero), zero)


def test_transport_keeps_inner_products(manifold, dtype, shape):
    x, y = points(manifold, shape, dtype, 1), points(manifold, shape, dtype, 2)
    u, w = tangent(manifold, x, 3), tangent(manifold, x, 4)
    there = [manifold.transport(x, y, v) for v in (u, w)]
    close(manifold.inner(y, *there), manifold.inner(x, u, w), 5)
    close(manifold.transport(y, x, there[0]), u, 5)


def test_transport_carries_the_velocity_of_a_geodesic(manifold, dtype, shape):
    x, y = points(manifold, shape, dtype, 1), points(manifold, shape, dtype, 2)
    close(manifold.transport(x, y, manifold.logmap(x, y)), -manifold.logmap(y, x), 5)


def test_gradient_represents_the_differential(manifold, dtype, shape):
    x = points(manifold, shape, dtype, 1)
    egrad, w = torch.randn(shape, dtype=dtype), tangent(manifold, x, 2)
    close(manifold.inner(x, manifold.riemannian_gradient(x, egrad), w), (egrad * w).sum(-1), 5)


def test_the_norm_of_a_gradient_is_its_length(manifold, dtype, shape):
    x = points(manifold, shape, dtype, 0)
    egrad = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    expected = manifold.norm(x.double(), manifold.riemannian_gradient(x.double(), egrad.double())).unsqueeze(-1)
    torch.testing.assert_close(manifold.gradient_norm(x, egrad), expected, rtol=1e-9, atol=0)


def test_gradient_of_half_the_squared_distance_points_away_from_the_other_point(manifold, dtype, shape):
    x, y = points(manifold, shape, dtype, 1).requires_grad_(), points(manifold, shape, dtype, 2).requires_grad_()
    (manifold.dist(x, y).square() / 2).sum().backward()
    close(manifold.riemannian_gradient(x.detach(), x.grad), -manifold.logmap(x.detach(), y.detach()), 5)
    close(manifold.riemannian_gradient(y.detach(), y.grad), -manifold.logmap(y.detach(), x.detach()), 5)


def test_retraction_agrees_with_the_exponential_to_first_order(manifold, dtype):
    x = points(manifold, (50, 3), torch.float64, 1)
    errors = []
    for length in (1e-2, 1e-3):
        u = tangent(manifold, x, 2, length)
        errors.append(manifold.dist(manifold.retract(x, u), manifold.expmap(x, u)).max())
    assert errors[1] <= errors[0] / 50


def test_projection_leaves_ordinary_points_and_what_it_gave_alone(manifold, dtype, shape):
    x = points(manifold, shape, dtype, 1)
    close(manifold.project(x), x)
    far = manifold.project(x * 1e15)
    assert manifold.dist(torch.zeros_like(far), far).isfinite().all()
    torch.testing.assert_close(manifold.project(far), far, rtol=4 * torch.finfo(dtype).eps, atol=0)


def test_arguments_are_left_alone(manifold, dtype, shape):
    arguments = [points(manifold, shape, dtype, 1), points(manifold, shape, dtype, 2), torch.randn(shape, dtype=dtype)]
    before = [a.clone() for a in arguments]
    x, y, u = arguments
    (
        manifold.dist(x, y),
        manifold.inner(x, u, u),
        manifold.expmap(x, u),
        manifold.logmap(x, y),
        manifold.transport(x, y, u),
    )
    manifold.riemannian_gradient(x, u), manifold.project(x), manifold.retract(x, u)
    assert all(torch.equal(a, b) for a, b in zip(arguments, before, strict=True))


def test_leading_axes_broadcast(manifold, dtype):
    x, y = points(manifold, (4, 1, 3), dtype, 1), points(manifold, (5, 3), dtype, 2)
    d = manifold.dist(x, y)
    assert d.shape == (4, 5)
    close(d[2, 3], manifold.dist(x[2, 0], y[3]))
    log = manifold.logmap(x, y)
    close(log[2, 3], manifold.logmap(x[2, 0], y[3]))
    close(manifold.transport(x, y, log)[2, 3], manifold.transport(x[2, 0], y[3], log[2, 3]))


def test_derivatives_of_maps_agree_with_finite_differences(manifold):
    x, y = (points(manifold, (2, 3), torch.float64, s).requires_grad_() for s in (1, 2))
    assert torch.autograd.gradcheck(manifold.dist, (x, y))
    assert torch.autograd.gradcheck(lambda a, b: manifold.expmap(a, b * 0.1), (x, y))
    assert torch.autograd.gradcheck(manifold.logmap, (x, y))


def test_maps_at_the_origin_have_finite_gradients(manifold, dtype):
    zero, y = torch.zeros(4, 3, dtype=dtype, requires_grad=True), points(manifold, (4, 3), dtype, 1).requires_grad_()
    for result in (
        manifold.expmap(zero, zero),
        manifold.expmap(y, zero),
        manifold.logmap(zero, y),
        manifold.logmap(zero, zero),
    ):
        grads = torch.autograd.grad(result.sum(), (zero, y), allow_unused=True)
        assert all(g is None or g.isfinite().all() for g in grads)


def test_equal_settings_make_equal_manifolds():
    assert Poincare(2.0) == Poincare(2.0) != Poincare(1.0)
    assert Lorentz() == Lorentz() != Euclidean()
    assert Sphere(2.0) != Poincare(2.0)
    assert Product((Lorentz(), 2), (Sphere(), 1)) == Product((Lorentz(), 2), (Sphere(), 1))
    assert len({Lorentz(2.0), Lorentz(2.0), Product((Lorentz(), 2)), Product((Lorentz(), 3))}) == 3


@pytest.mark.parametrize("curvature", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("kind", [Lorentz, Poincare, Sphere])
def test_curvature_must_be_positive(kind, curvature):
    with pytest.raises(FmlabError, match="curvature must be positive"):
        kind(curvature)


def test_a_curvature_is_a_scalar():
    with pytest.raises(FmlabError, match=r"a number or a scalar, got a tensor of shape \(2,\)"):
        Lorentz(torch.ones(2))


@pytest.mark.parametrize("factors", [(), ((Lorentz(), 0),)])
def test_a_product_has_factors_with_coordinates(factors):
    with pytest.raises(FmlabError, match="factors of one coordinate or more"):
        Product(*factors)


def test_a_product_refuses_points_of_another_width():
    with pytest.raises(FmlabError, match="3 coordinates, got 4"):
        MIXED.dist(torch.zeros(4), torch.zeros(4))


def test_half_precision_points_are_refused():
    with pytest.raises(FmlabError, match=r"float32 or float64, got torch\.float16"):
        Lorentz().expmap(torch.zeros(3, dtype=torch.float16), torch.zeros(3, dtype=torch.float16))


def test_arcosh1p_keeps_its_digits_and_has_no_infinite_slope():
    t = torch.tensor([0.0, 1e-300, 1e-20, 1.0, 1e20], dtype=torch.float64, requires_grad=True)
    value = arcosh1p(t)
    expected = torch.tensor([0.0, 2e-300**0.5, 2e-20**0.5, 1.3169578969248166, 46.74484904044086], dtype=torch.float64)
    torch.testing.assert_close(value, expected, rtol=1e-14, atol=0)
    value.sum().backward()
    assert t.grad[0] == 0
    torch.testing.assert_close(t.grad[1:], 1 / (t * (t + 2)).sqrt()[1:], rtol=1e-12, atol=0)
