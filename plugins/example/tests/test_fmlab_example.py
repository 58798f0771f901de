# ruff: noqa: D101, D103
"""fmlab's contract tests, and the mathematics of the example itself."""

from pathlib import Path

import pytest
import torch
from fmlab_example.nearest import Nearest
from fmlab_example.sampled_softmax import SampledSoftmax
from fmlab_example.visits import Visits

from fmlab.api import DataError, Dataset, Schema
from fmlab.testing import DataContract, LossContract, ModelContract, candidates, tiny

VISITS = "ann\tbakery\nann\tmuseum\nbob\tmuseum\nbob\tpark\ncid\tpark\n"


class TestNearest(ModelContract):
    accuracy = 0.9

    def make(self, schema: Schema) -> Nearest:
        return Nearest(schema, dim=8)


class TestSampledSoftmax(LossContract):
    def make(self) -> SampledSoftmax:
        return SampledSoftmax(temperature=0.5)


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
    torch.testing.assert_close(SampledSoftmax(temperature=2.0)(model, batch), expected)
