"""Batches are scored the same whether items repeat in them or not."""

import pytest
import torch
from fmlab_models.deepfm import DeepFM
from fmlab_models.fm import FM
from fmlab_models.hyperml import HyperML
from torch import nn

from fmlab.nn.scoring import item_states, score
from fmlab.testing import candidates, labeled, tiny


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("rows", [1, 2, 24, 96])
@pytest.mark.parametrize("make", [FM, DeepFM, HyperML])
def test_batches_with_few_and_with_many_repeats_score_like_whole_rows(make: type[nn.Module], rows: int) -> None:
    dataset = tiny("interactions")  # 11 items: 1 + 3 draws are below half of them, 96 labeled rows above four times
    model = make(dataset.schema).double().eval()
    at = [row % dataset.rows for row in range(rows)]
    for batch in (candidates(dataset, rows=at), labeled(dataset, rows=at)):
        whole = model(*batch.rows())
        torch.testing.assert_close(score(model, batch), whole, rtol=1e-9, atol=1e-9, check_dtype=False)


def test_items_are_encoded_once_however_often_they_were_drawn() -> None:
    dataset, seen = tiny("interactions"), []

    def side(ids: torch.Tensor, values: torch.Tensor | None) -> tuple[torch.Tensor]:
        seen.append(len(ids))
        return (ids[:, 0].double(),)

    batch = candidates(dataset)
    assert batch.item is not None
    (state,) = item_states(side, batch)
    assert seen == [len(batch.item.unique())]
    assert torch.equal(state, (batch.item + 1 + dataset.schema.offsets[2]).double())


@pytest.mark.parametrize(("rows", "whole"), [(43, True), (44, False)])
def test_labelled_rows_are_scored_whole_unless_every_item_stands_in_several(rows: int, whole: bool) -> None:
    dataset = tiny("interactions")
    model, seen = FM(dataset.schema), []
    forward = model.forward
    model.forward = lambda ids, values=None: seen.append(len(ids)) or forward(ids, values)
    score(model, labeled(dataset, rows=[row % dataset.rows for row in range(rows)]))
    assert seen == ([rows] if whole else [])
