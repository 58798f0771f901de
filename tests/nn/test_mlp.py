"""The perceptron of deep models, and the batch normalization in it."""

import pytest
import torch
from fmlab_losses.bce import BCE
from fmlab_models.deepfm import DeepFM
from torch import nn

from fmlab.contracts import Training
from fmlab.data import Schema
from fmlab.nn.mlp import BatchNorm, split_mlp
from fmlab.testing.building import tiny
from fmlab.training.loader import TrainingLoader
from fmlab.training.sanity_check import try_one_batch


def test_layers_stand_in_the_order_of_the_field() -> None:
    first, rest = split_mlp(4, (3, 2), 0.1, batch_norm=True)
    assert [type(m) for m in rest] == [BatchNorm, nn.ReLU, nn.Dropout, nn.Linear] * 2
    assert [m.bias is not None for m in (first, *rest) if isinstance(m, nn.Linear)] == [False, False, True]
    first, rest = split_mlp(4, (3, 2), 0.1)
    assert [type(m) for m in rest] == [nn.ReLU, nn.Dropout, nn.Linear] * 2
    assert first.bias is not None


@pytest.mark.parametrize("shape", [(12,), (3, 4), (2, 3, 2)])
def test_rows_of_any_leading_shape_are_normalised_together(shape: tuple[int, ...]) -> None:
    ours, theirs = BatchNorm(5).double(), nn.BatchNorm1d(5).double()
    for seed in range(3):
        x = torch.randn(*shape, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        torch.testing.assert_close(ours(x), theirs(x.view(-1, 5)).view_as(x), rtol=0, atol=1e-12)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x.view(-1, 5)).view_as(x), rtol=0, atol=1e-12)


def test_a_step_of_one_row_is_normalised_by_the_running_statistics() -> None:
    layer, x = BatchNorm(3), torch.tensor([[5.0, -1.0, 2.0]])
    layer(torch.randn(50, 3) * 2 + 1)
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    assert torch.equal(layer(x), layer.eval()(x))
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())


def test_the_batch_tried_before_the_first_epoch_leaves_no_trace_in_the_statistics() -> None:
    data = tiny("interactions")
    schema: Schema = data.schema
    model = DeepFM(schema, dim=4, hidden=(6,), batch_norm=True)
    loader = TrainingLoader(data, Training(torch.arange(8).numpy(), negatives=1), batch_size=8, seed=0)
    try_one_batch(model, BCE(), loader, name="deepfm")
    (layer,) = (m for m in model.modules() if isinstance(m, BatchNorm))
    assert torch.equal(layer.running_mean, torch.zeros(6))
    assert torch.equal(layer.running_var, torch.ones(6))


def test_half_precision_does_not_overflow_sums_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda x: None)  # of one process
    layer, x = BatchNorm(4), (torch.randn(5632, 4, generator=torch.Generator().manual_seed(0)) * 3 + 20).half()
    got = layer._over_processes(x)
    assert got.dtype == torch.float16
    torch.testing.assert_close(got.float(), nn.BatchNorm1d(4)(x.float()), rtol=0, atol=5e-3)
    torch.testing.assert_close(layer.running_mean, torch.full((4,), 2.0), rtol=0.02, atol=0)
