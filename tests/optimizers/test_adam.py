import copy

import pytest
import torch
from fmlab_optimizers.adam import Adam
from fmlab_optimizers.lazy_adam import LazyAdam
from optimizer_cases import assert_resumes, auxiliary, parameters, train

from fmlab.manifolds import ManifoldParameter, Poincare


def close(ours, theirs, tolerance=1e-6):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adam_on_sparse_gradients_is_dense_adam(weight_decay, dtype):
    ours, theirs = parameters(dtype), parameters(dtype)
    train(Adam(ours, lr=0.02, weight_decay=weight_decay, beta1=0.8, beta2=0.95, eps=1e-6), *ours, 50, sparse=True)
    reference = torch.optim.Adam(theirs, lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=weight_decay)
    train(reference, *theirs, 50, sparse=False)
    close(ours, theirs)
    if weight_decay:  # rows that were never looked up decay all the same
        assert (ours[0][20:] != parameters(dtype)[0][20:]).all()


@pytest.mark.parametrize("decays", [(0.0, 0.3), (0.3, 0.0)])
def test_tables_have_a_decay_of_their_own(decays):
    ours, theirs = parameters(torch.float64), parameters(torch.float64)
    train(Adam(ours, lr=0.02, weight_decay=decays[0], embedding_decay=decays[1]), *ours, 30, sparse=True)
    groups = [{"params": [theirs[1]], "weight_decay": decays[0]}, {"params": [theirs[0]], "weight_decay": decays[1]}]
    train(torch.optim.Adam(groups, lr=0.02), *theirs, 30, sparse=False)
    close(ours, theirs, 1e-10)


def test_rows_go_on_moving_after_their_last_lookup():
    ours, theirs = parameters(), parameters()
    optimizer, reference = Adam(ours, lr=0.1), torch.optim.Adam(theirs, lr=0.1)
    for rows in (30, 2, 2, 2):
        train(optimizer, *ours, 3, sparse=True, rows=rows)
        train(reference, *theirs, 3, sparse=False, rows=rows)
    close(ours, theirs)
    assert (ours[0][2:] != parameters()[0][2:]).all()


def test_groups_have_their_own_options():
    ours, theirs = parameters(), parameters()
    groups = [[{"params": [p[0]], "lr": 0.3}, {"params": [p[1]], "weight_decay": 0.5}] for p in (ours, theirs)]
    train(Adam(groups[0], lr=0.01), *ours, 5, sparse=True)
    train(torch.optim.Adam(groups[1], lr=0.01), *theirs, 5, sparse=False)
    close(ours, theirs)


def test_the_dense_buffer_is_kept_and_left_empty():
    ours = parameters()
    optimizer = Adam(ours)
    train(optimizer, *ours, 1, sparse=True)
    (buffer,) = optimizer._buffers.values()
    place = buffer.data_ptr()
    train(optimizer, *ours, 3, sparse=True)
    assert [b.data_ptr() for b in optimizer._buffers.values()] == [place]
    assert (buffer == 0).all()
    assert not any(key.startswith("buffer") for state in optimizer.state.values() for key in state)


@pytest.mark.parametrize("optimizer", [Adam, LazyAdam])
def test_a_run_resumes_from_its_saved_state(optimizer):
    assert_resumes(lambda p: optimizer(p, lr=0.1, weight_decay=0.01))


@pytest.mark.parametrize("optimizer", [Adam, LazyAdam])
def test_a_copied_optimizer_works(optimizer):
    ours = parameters()
    chosen = optimizer(ours, lr=0.1)
    train(chosen, *ours, 2, sparse=True)
    twin = copy.deepcopy(chosen)
    copied = [p for group in twin.param_groups for p in group["params"]]
    train(chosen, *ours, 2, sparse=True)
    train(twin, *copied, 2, sparse=True)
    close(ours, copied, 0)


def test_lazy_adam_is_adam_where_every_row_is_looked_up():
    ours, theirs = parameters(), parameters()
    optimizer, reference = LazyAdam(ours, lr=0.02, weight_decay=0.1), torch.optim.Adam(theirs, 0.02, weight_decay=0.1)
    for step in range(30):
        extra = torch.sparse_coo_tensor(
            torch.arange(30).unsqueeze(0), torch.ones(30, 4), (30, 4), check_invariants=True
        )
        sparse, dense = auxiliary(ours[0], step)
        ours[0].grad, theirs[0].grad = sparse + extra, dense + 1
        ours[1].grad, theirs[1].grad = torch.full((5, 3), float(step)), torch.full((5, 3), float(step))
        optimizer.step()
        reference.step()
    close(ours, theirs, 1e-5)


def test_lazy_adam_is_sparse_adam_of_torch_on_touched_rows_and_leaves_the_others():
    ours, theirs = parameters(torch.float64), parameters(torch.float64)
    train(LazyAdam(ours, lr=0.02, eps=1e-12), *ours, 20, sparse=True)
    reference = torch.optim.SparseAdam(theirs[:1], lr=0.02, eps=1e-12)
    train(reference, *theirs, 20, sparse=True)
    close(ours[:1], theirs[:1], 1e-8)
    assert torch.equal(ours[0][20:], parameters(torch.float64)[0][20:])


@pytest.mark.parametrize("optimizer", [Adam, LazyAdam])
def test_points_stay_in_the_ball(optimizer):
    points = ManifoldParameter(torch.full((30, 4), 0.4), Poincare(1.0))
    chosen = optimizer([points], lr=0.5)
    for step in range(10):
        points.grad = auxiliary(points, step)[0]
        chosen.step()
    assert (points.norm(dim=1) < 1).all()
    assert Poincare(1.0).dist(points, points.flip(0)).isfinite().all()


def test_a_state_from_before_tables_had_a_decay_of_their_own_is_taken():
    (p,) = parameters = [torch.nn.Parameter(torch.ones(3))]
    saved = Adam(parameters, lr=0.1).state_dict()
    del saved["param_groups"][0]["embedding_decay"]
    optimizer = Adam(parameters, lr=0.1)
    optimizer.load_state_dict(saved)
    p.grad = torch.ones(3)
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.full((3,), 0.9))
