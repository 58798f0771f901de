"""Models whose pairs of fields have gates: open gates change nothing, and a shut one takes out its pair alone."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fmlab.contracts import GatesPairs, is_late_interaction, is_two_sided
from fmlab.errors import FmlabError
from fmlab.nn.fm_sums import factor_pairs
from fmlab.nn.masked import n_dropped
from fmlab.nn.pair_gates import GatedPairs, MaskedPairs
from fmlab.plugin.registry import build
from fmlab.run.loading import build_model
from fmlab.run.model_size import n_trained
from fmlab.testing import KINDS, Kind, labeled, tiny

MODELS: dict[str, dict[str, Any]] = {
    "fm": {"name": "fm", "dim": 4},
    "fm-ball": {"name": "fm", "dim": 4, "geometry": "ball"},
    "deepfm": {"name": "deepfm", "dim": 4, "hidden": (5,)},
    "fwfm": {"name": "fwfm", "dim": 4},
    "fwfm-plain": {"name": "fwfm", "dim": 4, "linear": "plain"},
    "fwfm-hyperboloid": {"name": "fwfm", "dim": 4, "geometry": "hyperboloid"},
    "fvfm": {"name": "fvfm", "dim": 4},
    "fmfm": {"name": "fmfm", "dim": 4},
}


def made(options: dict[str, Any], kind: Kind) -> Any:
    torch.manual_seed(0)
    model: Any = build("model", {**options, "init_std": 0.5}, tiny(kind).schema).double().eval()
    with torch.no_grad():
        model.bias.fill_(0.3)
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_gates_weigh_one_pair_each(name: str, kind: Kind) -> None:
    schema = tiny(kind).schema
    ids, values = labeled(tiny(kind)).rows()
    values = None if values is None else values.double()
    whole, gated = made(MODELS[name], kind), made(MODELS[name], kind)
    assert isinstance(gated, GatesPairs)
    pairs = [(i, j) for i in range(len(schema.fields)) for j in range(i + 1, len(schema.fields))]
    gates = torch.ones(len(pairs), dtype=torch.float64, requires_grad=True)
    gated.gate_pairs(GatedPairs(lambda products: products * gates))
    assert not is_two_sided(gated)
    assert not is_late_interaction(gated)
    scores = gated(ids, values)
    torch.testing.assert_close(scores, whole(ids, values), rtol=1e-10, atol=1e-10)
    # What a pair adds is what changes with both of its fields: the second difference of the plain model.
    ones = torch.ones(ids.shape, dtype=torch.float64) if values is None else values

    def without(*fields: int) -> Tensor:
        kept = torch.tensor([float(f not in fields) for f in schema.column_field], dtype=torch.float64)
        return pairs_of(whole, ids, ones * kept)

    def pairs_of(model: Any, rows: Tensor, x: Tensor) -> Tensor:
        if not hasattr(model, "rest"):
            return model(rows, x)
        found, at = model.table.rows(rows)
        return factor_pairs(found, at, x)[0]

    for number in (0, len(pairs) - 1):
        i, j = pairs[number]
        one = torch.autograd.grad(scores.sum(), gates, retain_graph=True)[0][number]
        expected = (without() - without(i) - without(j) + without(i, j)).sum()
        torch.testing.assert_close(one, expected, rtol=1e-9, atol=1e-9)


def test_parameters_of_dropped_pairs_are_not_counted() -> None:
    schema = tiny("interactions").schema
    for name, each in (("fm", 0), ("fwfm", 1), ("fvfm", 4), ("fmfm", 16)):
        options = {"name": name, "dim": 4}
        model: Any = build_model(options, schema, 0, None, {"name": "autofis"}, True)
        before = n_trained(model)
        assert before == n_trained(build_model(options, schema, 0))
        masks = [m for m in model.modules() if isinstance(m, MaskedPairs)]
        masks[0].kept[:2] = False
        assert n_dropped(model) == 2 * each
        assert n_trained(model) == before - 2 * each


def test_dropout_of_fm_hides_single_pairs() -> None:
    model: Any = build("model", {"name": "fm", "dropout": 0.2}, tiny("context").schema)
    with pytest.raises(FmlabError, match=r"got dropout=0.2, take 0"):
        model.gate_pairs(MaskedPairs(10))
