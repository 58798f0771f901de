# ruff: noqa: D101, D103
"""fmlab's contract tests, and the mathematics of the example itself."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from fmlab_example.descent import HalfCosine, decoupled
from fmlab_example.frequency import Frequency
from fmlab_example.listwise import Listwise
from fmlab_example.nearest import Nearest
from fmlab_example.visits import Visits
from torch import nn

from fmlab.api import DataError, Dataset, SamplingBatch, Schema, UserItemSet
from fmlab.testing import (
    DataContract,
    LossContract,
    ModelContract,
    OptimizerContract,
    SamplerContract,
    SchedulerContract,
    candidates,
    tiny,
)

VISITS = "ann\tbakery\nann\tmuseum\nbob\tmuseum\nbob\tpark\ncid\tpark\n"


class TestNearest(ModelContract):
    accuracy = 0.9

    def make(self, schema: Schema) -> Nearest:
        return Nearest(schema, dim=8)


class TestListwise(LossContract):
    def make(self) -> Listwise:
        return Listwise(temperature=0.5)


class TestFrequency(SamplerContract):
    def make(self, observed: UserItemSet) -> Frequency:
        return Frequency(observed)


class TestDecoupled(OptimizerContract):
    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return decoupled(parameters, lr=0.05)


class TestHalfCosine(SchedulerContract):
    def make(self, steps: int, epoch_steps: int) -> HalfCosine:
        return HalfCosine(steps, epoch_steps)


class TestVisits(DataContract):
    def make(self, folder: Path) -> Dataset:
        (folder / "visits.tsv").write_text(VISITS, encoding="utf-8")
        return Visits(folder, min_visits=2).build({"visits.tsv": folder / "visits.tsv"}, folder)

    def test_people_with_few_visits_are_left_out(self, dataset: Dataset) -> None:
        assert [(s.rows, s.users, s.items) for s in dataset.steps] == [(5, 3, 3), (4, 2, 3)]
        assert list(dataset.keys["person"]) == ["ann", "bob"]

    def test_a_bad_line_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "visits.tsv").write_text("ann\tbakery\nann\n", encoding="utf-8")
        with pytest.raises(DataError, match=r"visits\.tsv:2 has 1 columns"):
            Visits(tmp_path).build({"visits.tsv": tmp_path / "visits.tsv"}, tmp_path)


def test_the_score_is_minus_a_squared_distance() -> None:
    model, batch = Nearest(tiny("interactions").schema, dim=3), candidates(tiny("interactions"))
    ids, _ = batch.rows()
    points = model.point(ids)
    p, q = points[..., : model.first_item, :].sum(-2), points[..., model.first_item :, :].sum(-2)
    torch.testing.assert_close(model(ids), -(p - q).square().sum(-1))


def test_the_loss_is_a_cross_entropy() -> None:
    model, batch = Nearest(tiny("interactions").schema, dim=3), candidates(tiny("interactions"))
    scores = model(*batch.rows())
    expected = torch.nn.functional.cross_entropy(scores / 2, torch.zeros(len(scores), dtype=torch.long))
    torch.testing.assert_close(Listwise(temperature=2.0)(model, batch), expected)


@pytest.mark.parametrize("correction", [True, False])
def test_with_log_q_the_scores_are_those_of_the_softmax_over_all_items(correction: bool) -> None:
    """One taste, items of which the first are far more popular: the optimum of a full softmax is log(share)."""
    share = torch.tensor([8.0, 4, 2, 1, 1, 1, 1, 1, 1]) / 20
    users = torch.arange(2000)
    item = torch.repeat_interleave(torch.arange(9), (share * 2000).long())
    observed = UserItemSet(users, item, 2000, 9)
    free = UserItemSet(users[:0], item[:0], 2000, 9)  # nothing is rejected: the softmax is over all items
    sampler = Frequency(observed, exponent=1.0, log_q_correction=correction)
    score = torch.zeros(9, requires_grad=True)
    optimizer = torch.optim.Adam([score], lr=0.05)
    for epoch in range(400):
        optimizer.param_groups[0]["lr"] = 0.05 * 0.99**epoch
        items, log_q = sampler.draw(SamplingBatch(free, users, item, users, item), 4, 0, epoch)
        z = score[torch.cat([item.unsqueeze(1), items], 1)]
        z = z if log_q is None else z - log_q
        loss = (z.logsumexp(1) - z[:, 0]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = (score - score[-1]).detach()
    expected = (share / share[-1]).log()
    if correction:
        torch.testing.assert_close(found, expected, atol=0.1, rtol=0)
    else:
        assert found[0] < expected[0] - 1  # popular items are underestimated
