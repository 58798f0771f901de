"""What a curvature does: a scale of lengths, and a number that gradients reach."""

import copy

import manifold_oracle as oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import diff, mpf
from torch import nn

from fmlab.errors import FmlabError
from fmlab.manifolds import Euclidean, LearnedCurvature, Lorentz, ManifoldParameter, Poincare, Product, Sphere

KINDS = {Lorentz: oracle.Hyperboloid, Poincare: oracle.Ball, Sphere: oracle.Globe}
COORDINATES = st.lists(st.floats(-3, 3, allow_subnormal=False), min_size=9, max_size=9)


def draw(seed, c=1.0):
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return 0.9 * x / (1 + x.norm(dim=-1, keepdim=True)) * c**-0.5  # inside the ball too


def scalar(c):
    return torch.tensor(c, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("c", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_in_the_curvature_agree_with_finite_differences(kind, c):
    x, y, u = (draw(s, c).requires_grad_() for s in (0, 1, 2))
    for map_of in (
        lambda k: kind(k).dist(x, y),
        lambda k: kind(k).inner(x, u, y),
        lambda k: kind(k).norm(x, u),
        lambda k: kind(k).expmap(x, u),
        lambda k: kind(k).logmap(x, y),
        lambda k: kind(k).expmap0(u),
        lambda k: kind(k).logmap0(y),
        lambda k: kind(k).transport(x, y, u),
        lambda k: kind(k).riemannian_gradient(x, u),
        lambda k: kind(k).gradient_norm(x, u),
        lambda k: Product((kind(k), 1), (kind(k), 2)).dist(x, y),
    ):
        assert torch.autograd.gradcheck(map_of, (scalar(c),))


@pytest.mark.parametrize("c", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_a_distance_in_the_curvature_is_that_of_60_digits(kind, c):
    for a, b in zip(draw(0, c), draw(1, c), strict=True):
        k = scalar(c)
        (got,) = torch.autograd.grad(kind(k).dist(a, b), k)
        expected = diff(lambda t: KINDS[kind](t).dist(oracle.vec(a), oracle.vec(b)), mpf(c))  # noqa: B023
        assert abs(mpf(got.item()) / expected - 1) < 1e-10


@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_gives_what_its_number_gives(kind):
    x, y, u = (draw(s, 2.5) for s in (0, 1, 2))
    for k in (torch.tensor(2.5), scalar(2.5)):
        ours, plain = kind(k), kind(2.5)
        for one, other in (
            (ours.dist(x, y), plain.dist(x, y)),
            (ours.expmap(x, u), plain.expmap(x, u)),
            (ours.logmap(x, y), plain.logmap(x, y)),
            (ours.transport(x, y, u), plain.transport(x, y, u)),
            (ours.project(x), plain.project(x)),
        ):
            assert one.dtype == other.dtype == torch.float64
            torch.testing.assert_close(one.detach(), other, rtol=1e-14, atol=1e-15)
    assert ours.dist(x.float(), y.float()).dtype == torch.float32


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(list(KINDS)), c=st.floats(1e-3, 1e3), numbers=COORDINATES)
def test_a_space_of_curvature_c_is_that_of_curvature_1_with_lengths_over_its_root(kind, c, numbers):
    x, y, u = torch.tensor(numbers, dtype=torch.float64).view(3, 3) / (6 if kind is Poincare else 1)
    unit, curved, root = kind(1.0), kind(c), c**0.5
    torch.testing.assert_close(curved.dist(x / root, y / root), unit.dist(x, y) / root, rtol=1e-9, atol=1e-12 / root)
    torch.testing.assert_close(curved.expmap(x / root, u / root) * root, unit.expmap(x, u), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(curved.norm(x / root, u / root), unit.norm(x, u) / root, rtol=1e-9, atol=1e-12 / root)


@settings(max_examples=150, deadline=None)
@given(c=st.floats(0.05, 20.0), numbers=COORDINATES)
def test_distances_on_the_sphere_are_a_metric_no_longer_than_half_a_circle(c, numbers):
    x, y, z = torch.tensor(numbers, dtype=torch.float64).view(3, 3)
    sphere = Sphere(c)
    xy, yz, xz = (float(sphere.dist(a, b)) for a, b in ((x, y), (y, z), (x, z)))
    assert 0 <= xy <= torch.pi / c**0.5 + 1e-12
    assert xz <= xy + yz + 1e-12
    if xy < 3 / c**0.5:
        torch.testing.assert_close(sphere.expmap(x, sphere.logmap(x, y)), y, rtol=1e-7, atol=1e-7)


def test_a_learned_curvature_stays_positive_and_starts_where_it_is_told():
    learned = LearnedCurvature(2.0)
    assert learned().item() == pytest.approx(2.0, rel=1e-6)
    assert [name for name, _ in learned.named_parameters()] == ["log"]
    optimizer = torch.optim.SGD(learned.parameters(), lr=5.0)
    for _ in range(20):
        optimizer.zero_grad()
        learned().backward()
        optimizer.step()
    assert 0 < learned().item() < 0.1


def test_the_curvature_of_a_tree_is_learned():
    """Leaves of a star are twice as far from each other as from its center, which flat space cannot hold."""
    angles = torch.arange(6) * torch.pi / 3
    leaves = nn.Parameter(0.5 * torch.stack([angles.cos(), angles.sin()], 1))
    learned = LearnedCurvature(0.1)
    optimizer = torch.optim.Adam([leaves, *learned.parameters()], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        space = Lorentz(learned())
        apart = space.dist(leaves.unsqueeze(0), leaves.unsqueeze(1))[~torch.eye(6, dtype=torch.bool)]
        loss = (apart - 2).square().mean() + (space.dist(leaves, torch.zeros_like(leaves)) - 1).square().mean()
        loss.backward()
        optimizer.step()
    assert learned().item() > 5
    assert loss.item() < 0.1


@pytest.mark.parametrize("manifold", [Lorentz(torch.tensor(1.0)), Product((Euclidean(), 1), (Sphere(scalar(2.0)), 2))])
def test_a_parameter_carries_no_manifold_that_changes(manifold):
    with pytest.raises(
        FmlabError, match="a parameter's manifold must be a number, got a tensor; store points in units"
    ):
        ManifoldParameter(torch.zeros(2, 3), manifold)


def test_a_copy_of_a_learned_curvature_is_its_own():
    learned = LearnedCurvature(2.0)
    twin = copy.deepcopy(learned)
    with torch.no_grad():
        twin.log.add_(1)
    assert learned().item() == pytest.approx(2.0, rel=1e-6)
