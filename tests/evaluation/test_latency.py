"""Bytes of a model, counted by hand, and how its time is measured."""

import torch
from torch import Tensor, nn

from fmlab.evaluation.latency import microseconds_per_row, model_bytes
from fmlab.testing import tiny


class Busy(nn.Module):
    """Multiplies matrices `times` times and notes how it is called."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times, self.calls = times, []
        self.weight = nn.Parameter(torch.randn(300, 300))
        self.register_buffer("kept", torch.zeros(5, dtype=torch.int64))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        self.calls.append((self.training, torch.is_grad_enabled(), torch.get_num_threads(), len(ids)))
        found = self.weight
        for _ in range(self.times):
            found = torch.tanh(found @ self.weight)
        return ids.sum(-1) * 0.0 + found.sum()


def test_a_model_is_measured_in_evaluation_mode_on_one_thread_and_left_as_it_was() -> None:
    model, threads = Busy(1).train(), torch.get_num_threads()
    assert microseconds_per_row(model, tiny("context")) > 0
    assert {call[:3] for call in model.calls} == {(False, False, 1)}
    assert len(model.calls) >= 4
    assert model.training
    assert torch.get_num_threads() == threads


def test_bytes_are_those_of_the_state() -> None:
    assert model_bytes(Busy(1)) == 300 * 300 * 4 + 5 * 8
