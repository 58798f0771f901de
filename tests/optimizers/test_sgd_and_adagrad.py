import pytest
import torch
from fmlab_optimizers.adagrad import AdaGrad
from fmlab_optimizers.sgd import SGD
from optimizer_cases import assert_resumes, auxiliary, parameters, train

from fmlab.manifolds import ManifoldParameter, Poincare

PAIRS = [(SGD, torch.optim.SGD), (AdaGrad, torch.optim.Adagrad)]


@pytest.mark.parametrize(("optimizer", "reference"), PAIRS)
def test_steps_on_sparse_gradients_are_dense_steps(optimizer, reference):
    ours, theirs = parameters(torch.float64), parameters(torch.float64)
    train(optimizer(ours, lr=0.1), *ours, 50, sparse=True)
    train(reference(theirs, lr=0.1), *theirs, 50, sparse=False)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    assert torch.equal(ours[0][20:], parameters(torch.float64)[0][20:])


@pytest.mark.parametrize(("optimizer", "reference"), PAIRS)
def test_weight_decay_is_dense_on_touched_rows_and_absent_on_the_others(optimizer, reference):
    ours, theirs = parameters(torch.float64), parameters(torch.float64)
    train(optimizer(ours, lr=0.1, weight_decay=0.2), *ours, 1, sparse=True)
    train(reference(theirs, lr=0.1, weight_decay=0.2), *theirs, 1, sparse=False)
    moved = (auxiliary(ours[0], 0, rows=20)[1] != 0).any(1)
    assert 0 < moved.sum() < 20
    torch.testing.assert_close(ours[0][moved], theirs[0][moved], rtol=1e-12, atol=1e-12)
    assert torch.equal(ours[0][~moved], parameters(torch.float64)[0][~moved])
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("optimizer", [SGD, AdaGrad])
def test_a_run_resumes_from_its_saved_state(optimizer):
    assert_resumes(lambda p: optimizer(p, lr=0.1, weight_decay=0.01))


@pytest.mark.parametrize("optimizer", [SGD, AdaGrad])
def test_points_stay_in_the_ball(optimizer):
    points = ManifoldParameter(torch.full((30, 4), 0.4), Poincare(4.0))
    chosen = optimizer([points], lr=0.5)
    for step in range(10):
        points.grad = auxiliary(points, step)[0]
        chosen.step()
    touched = points[(auxiliary(points, 9)[1] != 0).any(1)]
    assert (touched.norm(dim=1) < 0.5).all()
