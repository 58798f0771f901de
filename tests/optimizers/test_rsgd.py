import geoopt
import pytest
import torch
from fmlab_optimizers._descent import descend
from fmlab_optimizers.radagrad import RAdaGrad
from fmlab_optimizers.rsgd import RSGD
from optimizer_cases import assert_resumes, auxiliary
from torch import nn

from fmlab.contracts import EpochSchedule
from fmlab.manifolds import Euclidean, Lorentz, ManifoldParameter, Poincare, Sphere

CURVED = [Lorentz(), Lorentz(2.0), Poincare(0.5), Poincare(2.0), Sphere(0.5)]


def table(manifold, rows=30, dtype=torch.float32):
    torch.manual_seed(0)
    spread = 0.5 * torch.randn(rows, 4, dtype=dtype)
    inside = getattr(manifold, "curvature", 1.0) ** -0.5 / (1 + spread.norm(dim=1, keepdim=True))
    return ManifoldParameter(spread * inside, manifold)


@pytest.mark.parametrize("manifold", CURVED, ids=str)
@pytest.mark.parametrize("exponential_map", [False, True])
def test_a_step_on_repeated_lookups_is_one_step_along_their_sum(manifold, exponential_map):
    points = table(manifold, dtype=torch.float64)
    before = points.detach().clone()
    points.grad, dense = auxiliary(points, 0, rows=20)
    RSGD([points], lr=0.1, exponential_map=exponential_map, max_step=10.0).step()
    moved = (dense != 0).any(1)
    expected = descend(manifold, before[moved], dense[moved], 0.1, exponential_map=exponential_map, max_step=10.0)
    torch.testing.assert_close(points[moved], expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(points[~moved], before[~moved])
    if exponential_map or isinstance(manifold, Lorentz):
        tangent = -0.1 * manifold.riemannian_gradient(before[moved], dense[moved])
        torch.testing.assert_close(points[moved], manifold.expmap(before[moved], tangent), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("manifold", CURVED, ids=str)
def test_dense_gradients_make_the_same_step_as_sparse_ones(manifold):
    one, other = table(manifold, dtype=torch.float64), table(manifold, dtype=torch.float64)
    one.grad, other.grad = auxiliary(one, 0)
    for points in (one, other):
        RSGD([points], lr=0.1).step()
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_plain_parameters_get_plain_descent():
    plain, reference = nn.Parameter(torch.ones(30, 4)), nn.Parameter(torch.ones(30, 4))
    matrix, twin = nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(3, 2))
    plain.grad, reference.grad = auxiliary(plain, 0, size=100.0)
    matrix.grad = twin.grad = torch.full((3, 2), 7.0)
    RSGD([plain, matrix], lr=0.3).step()
    torch.optim.SGD([reference, twin], lr=0.3).step()
    torch.testing.assert_close(plain, reference)
    torch.testing.assert_close(matrix, twin)


def test_one_step_equals_geoopt_with_the_ambient_gradient():
    points = table(Lorentz(), dtype=torch.float64)
    index, weight = torch.tensor([3, 3, 5, 0]), torch.tensor([0.3, -1.0, 2.0, 0.5, 0.1], dtype=torch.float64)

    def lift(v):
        return torch.cat([(1 + v.square().sum(-1, keepdim=True)).sqrt(), v], -1)

    ambient = geoopt.ManifoldParameter(lift(points.detach()), manifold=geoopt.Lorentz())
    (lift(nn.functional.embedding(index, points, sparse=True)) @ weight).square().sum().backward()
    (nn.functional.embedding(index, ambient) @ weight).square().sum().backward()
    RSGD([points], lr=0.05, max_step=40.0).step()
    geoopt.optim.RiemannianSGD([ambient], lr=0.05).step()
    torch.testing.assert_close(lift(points), ambient.detach(), rtol=1e-8, atol=1e-8)


def test_burn_in_slows_the_first_epochs():
    plain = nn.Parameter(torch.zeros(1, 1))
    plain.grad = -torch.ones(1, 1)
    optimizer = RSGD([plain], lr=1.0, burn_in=2, burn_in_factor=0.25)
    assert isinstance(optimizer, EpochSchedule)
    steps = []
    for epoch in range(4):
        before = plain.item()
        optimizer.start_epoch(epoch)
        optimizer.step()
        steps.append(plain.item() - before)
    assert steps == [0.25, 0.25, 1.0, 1.0]


def test_burn_in_holds_before_the_first_epoch_is_announced_and_survives_a_checkpoint():
    plain = nn.Parameter(torch.zeros(1, 1))
    optimizer = RSGD([plain], lr=1.0, burn_in=1)
    assert optimizer.param_groups[0]["pace"] == 0.1
    optimizer.start_epoch(1)
    other = RSGD([plain], lr=1.0, burn_in=1)
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["pace"] == 1.0


@pytest.mark.parametrize("kind", [RSGD, RAdaGrad])
def test_a_state_of_the_release_before_is_read(kind):
    points = table(Lorentz())
    state = kind([points], exponential_map=True, max_step=0.25).state_dict()
    group = state["param_groups"][0]
    group["exact"], group["max_norm"] = group.pop("exponential_map"), group.pop("max_step")
    optimizer = kind([points])
    optimizer.load_state_dict(state)
    found = optimizer.param_groups[0]
    assert (found["exponential_map"], found["max_step"]) == (True, 0.25)
    assert "exact" not in found
    points.grad = torch.ones_like(points)
    optimizer.step()


def test_a_schedule_of_the_learning_rate_is_kept_apart_from_burn_in():
    plain = nn.Parameter(torch.zeros(1, 1))
    optimizer = RSGD([plain], lr=1.0, burn_in=1)
    optimizer.param_groups[0]["lr"] = 0.5
    optimizer.start_epoch(0)
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_a_step_is_no_longer_than_its_bound():
    for manifold in CURVED:
        points = table(manifold, dtype=torch.float64)
        before = points.detach().clone()
        points.grad = torch.full((30, 4), 1e6, dtype=torch.float64)
        RSGD([points], lr=1.0, exponential_map=True, max_step=0.5).step()
        torch.testing.assert_close(manifold.dist(before, points), torch.full((30,), 0.5).double(), rtol=1e-9, atol=0)


def test_a_run_resumes_from_its_saved_state():
    assert_resumes(
        lambda p: RSGD(p, lr=0.05, burn_in=3),
        [table(Lorentz()), nn.Parameter(torch.ones(5, 3))],
    )


@pytest.mark.parametrize("manifold", [*CURVED, Euclidean()], ids=str)
def test_descent_reaches_the_target(manifold):
    points = table(manifold, rows=8)
    target = descend(manifold, points.detach(), torch.randn(8, 4), 0.5)
    optimizer = RSGD([points], lr=0.2, max_step=1.0)
    for _ in range(200):
        optimizer.zero_grad()
        (manifold.dist(points, target).square() / 2).sum().backward()
        optimizer.step()
    assert manifold.dist(points, target).max() < 1e-5


@pytest.mark.parametrize("manifold", CURVED, ids=str)
@pytest.mark.parametrize("exponential_map", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_start_and_any_gradient_stay_finite_and_on_the_manifold(manifold, exponential_map, dtype):
    for start in (0.0, 1e-30, 0.3, 1e3, 1e12, 1e30):
        for size in (0.0, 1e-40, 1.0, 1e10, 1e30):
            direction = torch.randn(16, 3, dtype=dtype, generator=torch.Generator().manual_seed(1))
            points = ManifoldParameter(manifold.project(start * direction), manifold)
            optimizer = RSGD([points], lr=1.0, exponential_map=exponential_map)
            for step in range(3):
                points.grad = size * torch.randn(16, 3, dtype=dtype, generator=torch.Generator().manual_seed(step))
                optimizer.step()
            assert points.isfinite().all(), (start, size)
            loss = manifold.dist(points, points.detach().flip(0)).sum()
            assert loss.isfinite(), (start, size)
            assert torch.autograd.grad(loss, points)[0].isfinite().all(), (start, size)
            if isinstance(manifold, Poincare):
                assert (manifold.curvature * points.square().sum(-1) < 1).all(), (start, size)


@pytest.mark.parametrize("manifold", [Lorentz(), Poincare(1.0)], ids=str)
@pytest.mark.parametrize("steps", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_long_random_walk_leaves_the_points_usable(manifold, steps):
    """A random walk with steps of all sizes in float32, then a descent that must still find its target."""
    points = table(manifold, rows=4)
    optimizer = RSGD([points], lr=1.0, max_step=1.0)
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(1000, 4, 4, generator=random) * 10 ** (4 * torch.rand(1000, 1, 1, generator=random) - 3)
    for step in range(steps):
        points.grad = noise[step % 1000]
        optimizer.step()
    assert points.isfinite().all()
    torch.testing.assert_close(manifold.project(points), points.detach(), rtol=1e-6, atol=0)
    target = torch.full((4, 4), 0.1)
    optimizer = RSGD([points], lr=0.2, exponential_map=True, max_step=1.0)
    for _ in range(400):
        optimizer.zero_grad()
        (manifold.dist(points, target).square() / 2).sum().backward()
        optimizer.step()
    assert manifold.dist(points, target).max() < 1e-4


@pytest.mark.parametrize("lr", [1e-3, 1e-2, 1e-1])
def test_descent_from_far_away_in_float32_is_that_in_float64(lr):
    losses = {}
    for dtype in (torch.float32, torch.float64):
        start = torch.tensor([[0.0, 1.0, 0.5], [2.0, -1.0, 0.0]], dtype=torch.float64)
        start = Lorentz().expmap(torch.zeros_like(start), 10 * start / start.norm(dim=-1, keepdim=True))
        points, target = ManifoldParameter(start.to(dtype), Lorentz()), torch.tensor([0.2, 0.1, -0.4], dtype=dtype)
        optimizer = RSGD([points], lr=lr, max_step=1.0)
        for _ in range(300):
            optimizer.zero_grad()
            loss = Lorentz().dist(points, target).sum()
            loss.backward()
            optimizer.step()
        losses[dtype] = loss.item()
    assert losses[torch.float32] == pytest.approx(losses[torch.float64], abs=1e-3)
    assert losses[torch.float64] < 20.0 - 100 * lr
