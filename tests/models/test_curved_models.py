"""What the curvature does to LorentzFM, HyperML and HyperTS, given or learned."""

import math
from itertools import permutations
from typing import Any

import pytest
import torch
from field_rows import SCHEMA, rows, two_sides
from fmlab_losses.hinge import Hinge
from fmlab_models.hyperml import HyperML
from fmlab_models.hyperts import HyperTS
from fmlab_models.lorentzfm import LorentzFM
from fmlab_optimizers.adam import Adam
from fmlab_optimizers.radagrad import RAdaGrad
from torch import Tensor

from fmlab.testing import candidates, tiny

IDS, VALUES = rows(n=12)
MODELS = [LorentzFM, HyperML, HyperTS]
CURVATURES = [0.3, 1.0, 2.5]


def built(kind: Any, **options: Any) -> Any:
    """Points well apart, in float64."""
    torch.manual_seed(0)
    model = kind(SCHEMA, dim=4, **options).double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "curvature" not in name:
                p.copy_(0.2 * torch.randn(p.shape, dtype=torch.float64))
    return model


def triangle(u: Tensor, v: Tensor, c: float) -> Tensor:
    """LorentzFM, equation 9 by its first line, on `<v, v>_L = -1/c`: squared Lorentz distances with the origin."""

    def inner(a: Tensor, b: Tensor) -> Tensor:
        return (a[1:] * b[1:]).sum() - a[0] * b[0]

    def square(a: Tensor, b: Tensor) -> Tensor:
        return inner(a - b, a - b)

    origin = torch.zeros_like(u)
    origin[0] = c**-0.5
    return (square(u, v) - square(origin, u) - square(origin, v)) / (2 * inner(origin, u) * inner(origin, v))


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("c", CURVATURES)
def test_lorentzfm_is_equation_9_on_the_hyperboloid_of_that_curvature(c: float, learn: bool) -> None:
    model = built(LorentzFM, curvature=c, learn_curvature=learn)
    c = model.learned_curvature().item() if learn else c
    points = model.table.weight.detach() / c**0.5
    points = torch.cat([(1 / c + points.square().sum(-1, keepdim=True)).sqrt(), points], -1)
    expected = []
    for row, values in zip(IDS.tolist(), VALUES, strict=True):
        pairs = permutations(zip(row, values, strict=True), 2)
        expected.append(sum(triangle(points[i], points[j], c) * s * t for (i, s), (j, t) in pairs))
    torch.testing.assert_close(model(IDS, VALUES), torch.stack(expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("c", CURVATURES)
def test_the_score_of_a_pair_is_bounded_by_the_curvature(c: float) -> None:
    model = LorentzFM(SCHEMA, dim=3, curvature=c, init_std=100.0)
    pairs = IDS[:, [0, -1]]
    assert (model(pairs).abs() > c).any()
    assert (-c <= model(pairs)).all()
    assert (model(pairs) <= 4 * c).all()


def test_hyperml_with_a_learned_curvature_is_equation_9_at_that_curvature() -> None:
    model = built(HyperML, curvature=2.5, learn_curvature=True)
    c = model.learned_curvature().item()
    user, item = (side(IDS[:, columns]).detach() for side, columns in sides(model))
    x, y, xy = user.square().sum(-1), item.square().sum(-1), -(user * item).sum(-1)
    top = (1 + 2 * c * xy + c * y)[:, None] * -user + (1 - c * x)[:, None] * item
    total = top / (1 + 2 * c * xy + c**2 * x * y)[:, None]
    distance = 2 / math.sqrt(c) * torch.atanh(math.sqrt(c) * total.norm(dim=-1))
    torch.testing.assert_close(model(IDS), -distance.square(), rtol=1e-9, atol=1e-9)


def sides(model: Any) -> list[tuple[Any, Any]]:
    return [(model.user_points, SCHEMA.query), (model.item_points, SCHEMA.item)]


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("kind", [HyperML, HyperTS])
def test_the_score_is_minus_the_squared_distance_on_the_manifold_of_the_points(kind: Any, learn: bool) -> None:
    model = built(kind, curvature=2.5, learn_curvature=learn)
    user, item = (side(IDS[:, columns]) for side, columns in sides(model))
    torch.testing.assert_close(model(IDS), -model.manifold.dist(user, item).square(), rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        assert float(model.manifold.curvature) == pytest.approx(2.5, rel=1e-6)


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("kind", MODELS)
def test_a_learned_curvature_starts_as_the_given_one(kind: Any, c: float) -> None:
    scores = []
    for learn in (False, True):
        torch.manual_seed(1)
        model = kind(SCHEMA, dim=4, curvature=c, learn_curvature=learn)
        scores.append(model(IDS).detach())
    torch.testing.assert_close(*scores, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("kind", MODELS)
def test_both_sides_give_the_score_of_the_row(kind: Any) -> None:
    for options in ({"curvature": 0.3}, {"curvature": 0.3, "learn_curvature": True}):
        model = built(kind, **options)
        torch.testing.assert_close(two_sides(model, SCHEMA, IDS, VALUES), model(IDS, VALUES), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", MODELS)
def test_the_gradient_in_the_curvature_is_that_of_finite_differences(kind: Any) -> None:
    model = built(kind, curvature=0.7, learn_curvature=True)
    log = model.learned_curvature.log

    def at(shift: float) -> Tensor:
        with torch.no_grad():
            log.add_(shift)
            score = model(IDS, VALUES).sin().sum()
            log.sub_(shift)
        return score

    slope = (at(1e-5) - at(-1e-5)) / 2e-5
    model(IDS, VALUES).sin().sum().backward()
    torch.testing.assert_close(log.grad, slope, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("make", [lambda p: RAdaGrad(p), lambda p: Adam(p, lr=0.02)])
@pytest.mark.parametrize("kind", [HyperML, HyperTS])
def test_training_moves_the_curvature_and_lowers_the_loss(kind: Any, make: Any) -> None:
    data = tiny("interactions")
    torch.manual_seed(0)
    model, batch, loss = kind(data.schema, dim=4, learn_curvature=True), candidates(data), Hinge(distortion_weight=0.1)
    optimizer, losses = make(model.parameters()), []
    for _ in range(40):
        optimizer.zero_grad()
        losses.append(loss(model, batch))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
    assert abs(model.learned_curvature().item() - 1) > 0.01
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("kind", MODELS)
def test_without_curvature_named_nothing_is_added(kind: Any) -> None:
    assert not [n for n, _ in kind(SCHEMA, dim=4).named_parameters() if "curvature" in n]
    names = [n for n, _ in kind(SCHEMA, dim=4, learn_curvature=True).named_parameters()]
    assert "learned_curvature.log" in names


def test_hyperts_flattens_as_its_curvature_goes() -> None:
    model = built(HyperTS, curvature=1e-9)
    user, item = (t.weight.detach() for t in (model.tables.user, model.tables.item))
    u, i = user[IDS[:, 0]], item[IDS[:, SCHEMA.item.start] - SCHEMA.offsets[4]]
    torch.testing.assert_close(model(IDS), -4 * (u - i).square().sum(-1), rtol=1e-6, atol=1e-12)
