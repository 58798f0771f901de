"""No model leaves the device of its parameters or waits for it: on the device "meta", which has shapes but no numbers,
both are errors."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from fmlab_models import _interactions
from torch import Tensor, nn

from fmlab.contracts import is_late_interaction, is_two_sided
from fmlab.errors import FmlabError
from fmlab.nn import features
from fmlab.nn.sparse_lookup import IdGrouping
from fmlab.plugin import inventory, registry
from fmlab.testing import labeled, tiny

NAMES = [p.name for p in inventory.describe("model") if registry.package(registry.find("model", p.name)) == "fmlab"]
SPARSE = {"sparsity": 0.5, "vector_sparsity": 0.5, "field_sparsity": 0.5, "warmup": 0}
OPTIONS: dict[str, dict[str, Any]] = {"opnn": {"kernel": "matrix"}, "ifm": {"n_pairs": 3}, "deeplight": SPARSE}
META = torch.device("meta")


def all_distinct(ids: Tensor) -> IdGrouping:
    """How many ids are distinct is a number, the one for which every device waits."""
    place = torch.arange(ids.numel(), device=ids.device)
    return IdGrouping(place, place.view(ids.shape), place, place)


@pytest.fixture(autouse=True)
def _shapes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (features, _interactions):
        monkeypatch.setattr(module, "incidence", all_distinct)
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())  # it does not know this device


def run(model: Any, kind: Any) -> list[Tensor]:
    batch = labeled(tiny(kind)).to(META)
    scores = [model(*batch.rows())]
    if batch.item is not None and batch.tables.items is not None:
        query, items = batch.query(), batch.tables.items.take(batch.item)
        if is_two_sided(model):
            (a, p), (b, q) = model.encode_query(*query), model.encode_item(*items)
            scores.append(model.link(a + b + (p * q).sum(-1)))
        if is_late_interaction(model):
            scores.append(model.interact(model.query_state(*query), model.item_state(*items)))
    if any(p.requires_grad for p in model.parameters()) and scores[0].requires_grad:
        torch.stack([s.sum() for s in scores]).sum().backward()
    with torch.no_grad():
        scores.append(model.eval()(*batch.rows()))
    return scores


@pytest.mark.parametrize("kind", ["numeric", "rows"])
@pytest.mark.parametrize("name", NAMES)
def test_a_model_stays_on_its_device_and_does_not_wait_for_it(name: str, kind: Any) -> None:
    try:
        model = registry.build("model", {"name": name, **OPTIONS.get(name, {})}, tiny(kind).schema, gives=nn.Module)
    except FmlabError as error:
        pytest.skip(str(error))
    assert {s.device for s in run(model.to(META), kind)} == {META}


@pytest.mark.parametrize("mistake", [lambda s: s + torch.ones(24), lambda s: s * s.sum().item(), lambda s: s[s > 0]])
def test_a_mistake_is_found(mistake: Any) -> None:
    model = registry.build("model", {"name": "fm"}, tiny("rows").schema, gives=nn.Module).to(META)
    whole = model.forward
    model.forward = lambda ids, values=None: mistake(whole(ids, values))
    with pytest.raises((RuntimeError, NotImplementedError)):
        run(model, "rows")
