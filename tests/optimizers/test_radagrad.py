import copy

import pytest
import torch
from fmlab_optimizers.adagrad import AdaGrad
from fmlab_optimizers.radagrad import RAdaGrad
from fmlab_optimizers.rsgd import RSGD
from optimizer_cases import assert_resumes, auxiliary, parameters, train
from torch import nn

from fmlab.manifolds import Lorentz, ManifoldParameter, Poincare, Sphere
from fmlab.testing import OptimizerContract

CURVED = [Lorentz(), Lorentz(2.0), Poincare(0.5), Poincare(2.0), Sphere(0.5)]


class TestContract(OptimizerContract):
    def make(self, parameters):
        return RAdaGrad(parameters, lr=0.1)


def points_on(manifold, rows=30, dtype=torch.float64):
    torch.manual_seed(0)
    spread = 0.5 * torch.randn(rows, 4, dtype=dtype)
    inside = getattr(manifold, "curvature", 1.0) ** -0.5 / (1 + spread.norm(dim=1, keepdim=True))
    return ManifoldParameter(spread * inside, manifold)


def ambient_reference(start, grads, lr, initial):
    """The rule on the hyperboloid in all its coordinates, with the metric written out; a row at a time."""
    metric = torch.diag(torch.tensor([-1.0, *[1.0] * start.shape[1]], dtype=torch.float64))
    out = []
    for row, partials in zip(start, grads, strict=True):
        x, s = torch.cat([(1 + row @ row).sqrt().view(1), row]), initial
        for g in partials:
            if not g.any():
                continue
            h = torch.cat([torch.zeros(1, dtype=torch.float64), g])  # a loss of the space part alone
            h = metric @ h
            tangent = h + x * (x @ metric @ h)
            square = float(tangent @ metric @ tangent)
            s += square
            u = -lr * tangent / s**0.5
            n = (u @ metric @ u).sqrt()
            x = n.cosh() * x + n.sinh() * u / n
        out.append(x[1:])
    return torch.stack(out)


def test_steps_on_the_hyperboloid_are_those_of_the_ambient_formula():
    points = points_on(Lorentz())
    start, steps = points.detach().clone(), [auxiliary(points, seed, rows=20) for seed in range(12)]
    optimizer = RAdaGrad([points], lr=0.2, initial_accumulator=0.05, max_step=40.0)
    for sparse, _ in steps:
        points.grad = sparse
        optimizer.step()
    expected = ambient_reference(start, torch.stack([dense for _, dense in steps], 1), 0.2, 0.05)
    torch.testing.assert_close(points.detach(), expected, rtol=1e-9, atol=1e-9)
    assert torch.equal(points[20:], start[20:])


def test_a_step_scale_puts_back_the_factor_of_gradients_that_the_division_cancels():
    plain, hot = points_on(Lorentz()), points_on(Lorentz())
    hot = ManifoldParameter(hot.detach(), Lorentz(), step_scale=5.0)
    for seed in range(5):
        for points, factor in ((plain, 1.0), (hot, 5.0)):
            points.grad = factor * auxiliary(points, seed, rows=20)[1]
    slow = RAdaGrad([plain], lr=0.01, initial_accumulator=0.0)
    fast = RAdaGrad([hot], lr=0.01 / 5, initial_accumulator=0.0)
    slow.step()
    fast.step()
    torch.testing.assert_close(hot.detach(), plain.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("manifold", CURVED, ids=str)
@pytest.mark.parametrize("exponential_map", [False, True])
def test_dense_gradients_make_the_same_steps_as_sparse_ones(manifold, exponential_map):
    one, other = points_on(manifold), points_on(manifold)
    optimizers = [RAdaGrad([p], lr=0.1, exponential_map=exponential_map) for p in (one, other)]
    for step in range(5):
        one.grad, other.grad = auxiliary(one, step, rows=20)
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert torch.equal(one[20:], points_on(manifold)[20:])


@pytest.mark.parametrize("manifold", CURVED, ids=str)
def test_with_small_gradients_it_is_rsgd_at_the_rate_lr_over_root_initial(manifold):
    one, other = points_on(manifold), points_on(manifold)
    pair = RAdaGrad([one], lr=3.0, initial_accumulator=0.01), RSGD([other], lr=30.0, max_step=0.3)
    for step in range(5):
        one.grad = auxiliary(one, step, size=1e-6)[0]
        other.grad = one.grad.clone()
        for optimizer in pair:
            optimizer.step()
    torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_a_point_of_every_row_is_slowed_by_its_own_gradients():
    """The first step of a large gradient is bounded, the hundredth has a tenth of its rate."""
    points = points_on(Lorentz(), rows=1)
    optimizer, lengths = RAdaGrad([points], lr=0.3, initial_accumulator=0.0, max_step=40.0), []
    for _ in range(100):
        before = points.detach().clone()
        points.grad = 50 * torch.ones(1, 4, dtype=torch.float64) / (1 + 2 * before.square().sum())
        optimizer.step()
        lengths.append(Lorentz().dist(before, points).item())
    assert lengths[0] == pytest.approx(0.3, rel=1e-6)
    assert lengths[-1] < 0.1 * lengths[0]


def test_a_step_is_no_longer_than_its_bound():
    for manifold in CURVED:
        points = points_on(manifold)
        before = points.detach().clone()
        points.grad = torch.full((30, 4), 1e6, dtype=torch.float64)
        RAdaGrad([points], lr=10.0, exponential_map=True, max_step=0.5).step()
        torch.testing.assert_close(manifold.dist(before, points), torch.full((30,), 0.5).double(), rtol=1e-9, atol=0)


def test_plain_parameters_get_adagrad():
    ours, theirs = parameters(torch.float64), parameters(torch.float64)
    train(RAdaGrad(ours, lr=0.1, initial_accumulator=0.0), *ours, 20, sparse=True)
    train(AdaGrad(theirs, lr=0.1), *theirs, 20, sparse=True)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_a_scalar_parameter_descends():
    bias = nn.Parameter(torch.tensor(1.0))
    bias.grad = torch.tensor(2.0)
    RAdaGrad([bias], lr=0.5, initial_accumulator=0.0).step()
    assert bias.item() == pytest.approx(0.5)


@pytest.mark.parametrize("manifold", CURVED, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_start_and_any_gradient_stay_finite(manifold, dtype):
    for start in (0.0, 1e-30, 0.3, 1e12, 1e30):
        for size in (0.0, 1e-40, 1.0, 1e10, 1e30):
            direction = torch.randn(16, 3, dtype=dtype, generator=torch.Generator().manual_seed(1))
            points = ManifoldParameter(manifold.project(start * direction), manifold)
            optimizer = RAdaGrad([points], initial_accumulator=0.0)
            for step in range(3):
                points.grad = size * torch.randn(16, 3, dtype=dtype, generator=torch.Generator().manual_seed(step))
                optimizer.step()
            assert points.isfinite().all(), (start, size)


def test_a_run_resumes_from_its_saved_state():
    for manifold in CURVED:
        table = points_on(manifold, dtype=torch.float32)
        assert_resumes(lambda p: RAdaGrad(p, lr=0.1), [table, nn.Parameter(torch.ones(5, 3))])


def test_a_copied_optimizer_goes_on_alike():
    ours = [points_on(Lorentz()), nn.Parameter(torch.ones(5, 3, dtype=torch.float64))]
    chosen = RAdaGrad(ours, lr=0.1)
    train(chosen, *ours, 2, sparse=True)
    twin = copy.deepcopy(chosen)
    copied = [p for group in twin.param_groups for p in group["params"]]
    train(chosen, *ours, 2, sparse=True)
    train(twin, *copied, 2, sparse=True)
    assert all(torch.equal(a, b) for a, b in zip(ours, copied, strict=True))
