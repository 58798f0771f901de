"""LRML and HyperTS, the models beside HyperML, against their formulas."""

import math
from typing import Any

import pytest
import torch
from field_rows import SCHEMA, randomize, rows, single, two_sides
from fmlab_models.cml import CML
from fmlab_models.hyperml import HyperML
from fmlab_models.hyperts import HyperTS
from fmlab_models.lrml import LRML
from torch import Tensor

from fmlab.contracts import ManifoldEmbeddings
from fmlab.data import Field, Schema
from fmlab.errors import FmlabError
from fmlab.nn.scoring import score
from fmlab.testing import candidates, tiny

IDS, VALUES = rows()


def vectors(model: Any) -> tuple[Tensor, Tensor]:
    user, item = model.tables.user.weight, model.tables.item.weight
    return user[IDS[:, 0]], item[IDS[:, SCHEMA.item.start] - SCHEMA.offsets[4]]


def clipped(x: Tensor) -> Tensor:
    return x / max(1.0, float(x.detach().norm()))


def test_lrml_moves_the_user_by_what_it_reads_from_the_memory() -> None:
    model = randomize(LRML(SCHEMA, dim=3, memory_slots=4))
    expected = []
    for p, q in zip(*vectors(model), strict=True):
        p, q = clipped(p), clipped(q)
        weights = [math.exp(float((key * p * q).sum())) for key in model.keys]
        relation = sum(w / sum(weights) * m for w, m in zip(weights, model.memory, strict=True))
        expected.append(-(p + relation - q).square().sum())
    torch.testing.assert_close(model(IDS), torch.stack(expected), rtol=0, atol=1e-10)


def test_lrml_with_an_empty_memory_is_cml() -> None:
    model, cml = randomize(LRML(SCHEMA, dim=3)), CML(SCHEMA, dim=3).double()
    cml.load_state_dict({k: v for k, v in model.state_dict().items() if k.startswith("tables")})
    with torch.no_grad():
        model.memory.zero_()
    torch.testing.assert_close(model(IDS), cml(IDS), rtol=0, atol=1e-12)


@pytest.mark.parametrize("curvature", [0.5, 1.0, 4.0])
def test_hyperts_is_hyperml_on_mapped_points(curvature: float) -> None:
    """Equation 7 at the origin: `tanh(sqrt(c) |z|) z / (sqrt(c) |z|)`."""
    model, points = HyperTS(SCHEMA, dim=3, curvature=curvature).double(), HyperML(SCHEMA, dim=3, curvature=curvature)
    randomize(model)
    points.double()
    root = math.sqrt(curvature)
    with torch.no_grad():
        for side in ("user", "item"):
            z = model.get_parameter(f"tables.{side}.weight")
            length = z.norm(dim=1, keepdim=True)
            points.get_parameter(f"tables.{side}.weight").copy_(torch.tanh(root * length) * z / (root * length))
    torch.testing.assert_close(model(IDS), points(IDS), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(two_sides(model, SCHEMA, IDS, VALUES), model(IDS), rtol=1e-9, atol=1e-9)


def test_hyperts_starts_where_hyperml_does() -> None:
    models: list[Any] = []
    for kind in (HyperTS, HyperML):
        torch.manual_seed(0)
        models.append(kind(SCHEMA, dim=5))
    for side in ("user_points", "item_points"):
        ids = IDS[:, SCHEMA.query if side == "user_points" else SCHEMA.item]
        ours, theirs = (getattr(m, side)(ids) for m in models)
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-8)


def test_the_gradient_of_hyperts_passes_through_the_exponential_map() -> None:
    model = randomize(HyperTS(SCHEMA, dim=3))
    z = model.tables.user.weight.detach().clone()
    row = int(IDS[0, 0])

    def at(shift: float) -> Tensor:
        with torch.no_grad():
            model.tables.user.weight.copy_(z)
            model.tables.user.weight[row, 1] += shift
            return model(IDS[:1])[0]

    slope = (at(1e-6) - at(-1e-6)) / 2e-6
    at(0.0)
    model(IDS[:1]).sum().backward()
    torch.testing.assert_close(model.tables.user.weight.grad.to_dense()[row, 1], slope, rtol=1e-6, atol=1e-7)


def test_only_hyperts_is_a_metric_space() -> None:
    assert isinstance(HyperTS(SCHEMA), ManifoldEmbeddings)
    assert not isinstance(LRML(SCHEMA), ManifoldEmbeddings)


@pytest.mark.parametrize("model", [LRML, HyperTS])
def test_candidates_are_scored_as_whole_rows(model: Any) -> None:
    data = tiny("context")
    made, batch = randomize(model(data.schema, dim=3)), candidates(data)
    torch.testing.assert_close(score(made, batch), made(*batch.rows()), rtol=1e-9, atol=1e-9)


def test_parameters_are_counted() -> None:
    schema = single(2, size=10)
    assert sum(p.numel() for p in LRML(schema, dim=3, memory_slots=4).parameters()) == 20 * 3 + 2 * 4 * 3
    assert sum(p.numel() for p in HyperTS(schema, dim=3).parameters()) == 20 * 3


@pytest.mark.parametrize("model", [LRML, HyperTS])
def test_rows_without_users_and_items_are_refused(model: Any) -> None:
    with pytest.raises(FmlabError, match="needs users and items"):
        model(Schema((Field("site", "context", 9),)))
