"""Batches are scored the same whether items repeat in them or not."""

import pytest
import torch
from fmlab_models.deepfm import DeepFM
from fmlab_models.fm import FM
from fmlab_models.hyperml import HyperML
from torch import nn

from fmlab.scoring import item_states, score
from fmlab.testing import candidates, labelled, tiny


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("rows", [1, 2, 24])
@pytest.mark.parametrize("make", [FM, DeepFM, HyperML])
def test_batches_with_few_and_with_many_repeats_score_like_whole_rows(make: type[nn.Module], rows: int) -> None:
    dataset = tiny("interactions")  # 11 items: a batch of 1 + 3 draws is below half of them
    model = make(dataset.schema).double().eval()
    for batch in (candidates(dataset, rows=range(rows)), labelled(dataset, rows=range(rows))):
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
