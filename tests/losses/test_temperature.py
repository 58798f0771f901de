"""Losses over candidates read the score of a model at its temperature; labeled rows, metrics and forward do not."""

import pytest
import torch
from fmlab_models.lorentzfm import LorentzFM

from fmlab.data import Field, Schema
from fmlab.nn.scoring import score, tempered_score
from fmlab.plugin.registry import build
from fmlab.testing import candidates, labeled, tiny

IDS = Schema((Field("user", "user", 5), Field("item", "item", 7)), 5, 7)
FOUR = Schema((IDS.fields[0], Field("age", "user", 3), IDS.fields[1], Field("kind", "item", 2)), 5, 7)
CONTEXT = Schema((Field("hour", "context", 5), Field("day", "context", 7)))


@pytest.mark.parametrize(("schema", "wanted"), [(IDS, 0.2), (FOUR, 1.0), (CONTEXT, 1.0)])
def test_lorentzfm_has_a_temperature_of_its_own_for_two_ids_only(schema: Schema, wanted: float) -> None:
    assert LorentzFM(schema).temperature == pytest.approx(wanted)
    assert LorentzFM(schema, temperature=0.5).temperature == 0.5


@pytest.mark.parametrize("loss", ["bce", "bpr"])
def test_a_loss_over_candidates_divides_by_the_temperature(loss: str) -> None:
    data = tiny("interactions")
    batch = candidates(data)
    model = LorentzFM(data.schema, init_std=1.0, temperature=0.25)
    scores = 4 * score(model, batch)
    if loss == "bce":
        terms = torch.nn.functional.binary_cross_entropy_with_logits(scores, batch.label.float(), reduction="none")
    else:
        terms = torch.nn.functional.softplus(scores[:, 1:] - scores[:, :1])
    torch.testing.assert_close(build("loss", {"name": loss})(model, batch), terms.sum() / len(scores))


def test_labelled_rows_keep_their_score() -> None:
    data = tiny("interactions")
    batch = labeled(data)
    model = LorentzFM(data.schema, init_std=1.0, temperature=0.25)
    assert torch.equal(tempered_score(model, batch), score(model, batch))
