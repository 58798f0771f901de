import copy
import io
import pickle

import torch
from torch import nn

from fmlab.manifolds import Euclidean, Lorentz, ManifoldParameter, Poincare, manifold_of, step_scale_of


def module():
    holder = nn.Module()
    holder.points = ManifoldParameter(torch.rand(4, 3) / 4, Poincare(2.0))
    holder.plain = nn.Parameter(torch.rand(2))
    return holder


def test_a_parameter_carries_its_manifold_and_a_plain_one_is_flat():
    holder = module()
    assert isinstance(holder.points, nn.Parameter)
    assert manifold_of(holder.points) == Poincare(2.0)
    assert manifold_of(holder.plain) == Euclidean()
    assert {name for name, _ in holder.named_parameters()} == {"points", "plain"}


def test_copies_keep_the_manifold_and_share_no_data():
    holder = module()
    twin = copy.deepcopy(holder)
    assert manifold_of(twin.points) == Poincare(2.0)
    assert torch.equal(twin.points, holder.points)
    with torch.no_grad():
        twin.points.zero_()
    assert holder.points.abs().sum() > 0


def test_a_parameter_shared_by_two_modules_stays_shared_in_a_copy():
    holder = module()
    holder.tied = holder.points
    twin = copy.deepcopy(holder)
    assert twin.tied is twin.points


def test_a_frozen_parameter_stays_frozen_in_a_copy():
    frozen = ManifoldParameter(torch.zeros(2, 3), Lorentz(), requires_grad=False)
    assert not copy.deepcopy(frozen).requires_grad


def test_pickles_keep_the_manifold():
    twin = pickle.loads(pickle.dumps(module().points))
    assert isinstance(twin, ManifoldParameter)
    assert manifold_of(twin) == Poincare(2.0)
    assert twin.requires_grad


def test_change_of_dtype_keeps_the_manifold():
    assert manifold_of(module().double().points) == Poincare(2.0)


def test_the_state_holds_plain_tensors_that_load_without_executing_anything():
    holder, buffer = module(), io.BytesIO()
    assert all(type(t) is torch.Tensor for t in holder.state_dict().values())
    torch.save(holder.state_dict(), buffer)
    buffer.seek(0)
    other = module()
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other.points, holder.points)
    assert manifold_of(other.points) == Poincare(2.0)


def test_gradients_of_lookups_are_row_sparse():
    points = module().points
    nn.functional.embedding(torch.tensor([1, 1, 3]), points, sparse=True).sum().backward()
    assert points.grad.is_sparse
    assert points.grad.to_dense().sum(-1).tolist() == [0, 6, 0, 3]


def test_the_step_scale_goes_with_copies_and_pickles_and_is_1_without_one():
    points = ManifoldParameter(torch.rand(4, 3) / 4, Lorentz(), step_scale=5.0)
    assert step_scale_of(copy.deepcopy(points)) == step_scale_of(pickle.loads(pickle.dumps(points))) == 5.0
    assert step_scale_of(nn.Parameter(torch.zeros(2))) == step_scale_of(module().points) == 1.0
