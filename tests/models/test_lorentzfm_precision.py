"""LorentzFM in float32 against fifty digits, from points that hardly leave the origin to far ones."""

import mpmath
import pytest
import torch
from fmlab_models.lorentzfm import LorentzFM
from torch import Tensor

from fmlab.data import Field, Schema

ROUNDOFF = torch.finfo(torch.float32).eps
SCHEMA = Schema((Field("user", "user", 8), Field("item", "item", 8)), 8, 8)
SIZES = [1e-15, 1e-8, 1e-5, 1e-3, 0.03, 1.0, 30.0, 1e4]


def _model(size: float) -> LorentzFM:
    torch.manual_seed(0)
    model = LorentzFM(SCHEMA, dim=5)
    with torch.no_grad():
        model.table.weight.mul_(size / 0.1)
    return model


def _time(point: Tensor) -> mpmath.mpf:
    return mpmath.sqrt(1 + sum(mpmath.mpf(t) ** 2 for t in point.tolist()))


@pytest.fixture(autouse=True)
def _digits():
    with mpmath.workdps(50):
        yield


@pytest.mark.parametrize("size", SIZES)
def test_the_time_part_of_a_vector_has_all_its_digits(size: float) -> None:
    model = _model(size)
    ids = torch.arange(16).unsqueeze(1)
    _, vectors = model.encode_item(ids)
    for point, (c, *_) in zip(model.table.weight.detach(), vectors.tolist(), strict=True):
        exact = 1 - 1 / _time(point)
        assert abs(c / exact - 1) < 4 * ROUNDOFF


@pytest.mark.parametrize("size", SIZES)
def test_a_score_is_off_by_roundoffs_of_its_terms(size: float) -> None:
    model = _model(size)
    for user in range(8):
        ids = torch.tensor([[user, 8 + user]])
        u, v = model.table.weight.detach()[ids[0]]
        u0, v0 = _time(u), _time(v)
        inner = sum(mpmath.mpf(a) * mpmath.mpf(b) for a, b in zip(u.tolist(), v.tolist(), strict=True))
        exact = 2 * ((1 - 1 / u0) * (1 - 1 / v0) - inner / (u0 * v0))
        terms = sum((p.double().norm().item() / t) ** 2 for p, t in ((u, u0), (v, v0)))
        assert abs(model(ids).item() - exact) < 8 * ROUNDOFF * terms


@pytest.mark.parametrize("size", SIZES[:6])
def test_gradients_in_float32_are_those_in_float64(size: float) -> None:
    """Relative to a point's whole gradient; far out its radial part is lost in the roundoff of coordinates."""
    single, double = _model(size), _model(size).double()
    ids = torch.tensor([[0, 8], [1, 9], [2, 8], [1, 15]])
    for model in (single, double):
        model(ids).sum().backward()
    ours, exact = (m.table.weight.grad.to_dense().double() for m in (single, double))
    assert ((ours - exact).norm(dim=1) <= 16 * ROUNDOFF * exact.norm(dim=1)).all()
