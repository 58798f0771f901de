"""Each model against the plain formula of its paper, written as loops over pairs of columns."""

from itertools import combinations, permutations

import mpmath
import numpy as np
import pytest
import torch
from fmlab_models.baselines import Popularity
from fmlab_models.cml import CML
from fmlab_models.deepfm import DeepFM
from fmlab_models.fm import FM
from fmlab_models.hyperml import HyperML
from fmlab_models.lorentzfm import LorentzFM
from fmlab_models.lr import LR
from fmlab_models.mf import MF
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fmlab.data import Field, Schema
from fmlab.errors import FmlabError
from fmlab.testing import KINDS, candidates, labeled, tiny

SCHEMA = Schema((Field("user", "user", 9), Field("item", "item", 6), Field("tags", "item", 5, slots=3)), 8, 5)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _random_rows(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Ids with repeats within the multi-valued field, and random values."""
    rng = np.random.default_rng(seed)
    columns = [SCHEMA.offsets[f] + rng.integers(0, SCHEMA.fields[f].size, 40) for f in SCHEMA.column_field]
    return torch.tensor(np.stack(columns, 1)).int(), torch.tensor(rng.normal(size=(40, len(columns))))


def _spread(model: nn.Module, size: float = 0.7) -> nn.Module:
    """Random parameters of a size at which every term counts."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.double().parameters():
            p.copy_(size * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return model.eval()


def _triangle(u: Tensor, v: Tensor) -> Tensor:
    """Equation 9 by its first line, on ambient coordinates: squared Lorentz distances with the origin."""

    def inner(a: Tensor, b: Tensor) -> Tensor:
        return (a[1:] * b[1:]).sum() - a[0] * b[0]

    def distance2(a: Tensor, b: Tensor) -> Tensor:
        return -2 - 2 * inner(a, b)

    origin = torch.zeros_like(u)
    origin[0] = 1
    difference = distance2(u, v) - distance2(origin, u) - distance2(origin, v)
    return difference / (2 * inner(origin, u) * inner(origin, v))


def _ambient(points: Tensor) -> Tensor:
    return torch.cat([(1 + points.square().sum(-1, keepdim=True)).sqrt(), points], -1)


@pytest.mark.parametrize("with_values", [False, True])
def test_fm_is_its_double_sum(with_values: bool) -> None:
    ids, x = _random_rows()
    model = _spread(FM(SCHEMA, dim=4))
    w, v = model.table.weight[:, 0], model.table.weight[:, 1:]
    expected = []
    for row, values in zip(ids.tolist(), x if with_values else torch.ones_like(x), strict=True):
        total = model.bias + sum(w[i] * t for i, t in zip(row, values, strict=True))
        for (i, s), (j, t) in combinations(zip(row, values, strict=True), 2):
            total = total + (v[i] @ v[j]) * s * t
        expected.append(total)
    scores = model(ids, x) if with_values else model(ids)
    torch.testing.assert_close(scores, torch.stack(expected), rtol=0, atol=1e-9)


@pytest.mark.parametrize("by_side", [False, True])
@pytest.mark.parametrize("with_values", [False, True])
def test_fm_drops_whole_factors_of_all_pairs_of_a_row(with_values: bool, by_side: bool) -> None:
    """A score is one of the 2^3 that keep some factors, four times as large, each as often as it should be."""
    schema = Schema((Field("user", "user", 4), Field("city", "user", 3), Field("item", "item", 2)), 3, 1)
    model = _spread(FM(schema, dim=3, dropout=0.75)).train()
    ids, x = torch.tensor([[1, 5, 8]]), torch.tensor([[0.7, -1.2, 0.4]], dtype=torch.float64)
    values = x if with_values else None
    rows = model.table.weight.detach()[ids[0]] * (x[0] if with_values else torch.ones(3)).unsqueeze(-1)
    factors = torch.stack([a * b for a, b in combinations(rows[:, 1:], 2)]).sum(0)
    kept = torch.tensor([[n >> k & 1 for k in range(3)] for n in range(8)]).double()
    wanted = model.bias.detach() + rows[:, 0].sum() + 4 * kept @ factors
    chance = torch.where(kept > 0, 0.25, 0.75).prod(1)
    many = 4000
    ids, values = ids.expand(many, -1), None if values is None else values.expand(many, -1)
    if by_side:
        (a, p), (b, q) = (
            side(ids[:, c], None if values is None else values[:, c])
            for side, c in ((model.encode_query, slice(2)), (model.encode_item, slice(2, 3)))
        )
        scores = a + b + (p * q).sum(-1)
    else:
        scores = model(ids, values)
    distance, which = (scores.detach().unsqueeze(1) - wanted).abs().min(1)
    assert distance.max() < 1e-9
    share = torch.bincount(which, minlength=8) / many
    assert (share - chance).abs().max() < 0.03
    assert torch.allclose(model.eval()(ids[:1], None if values is None else values[:1]), wanted[-1] - 3 * factors.sum())


@pytest.mark.parametrize("with_values", [False, True])
def test_lorentzfm_is_its_sum_over_ordered_pairs(with_values: bool) -> None:
    ids, x = _random_rows()
    model = _spread(LorentzFM(SCHEMA, dim=5), 1.5)
    v = _ambient(model.table.weight)
    expected = []
    for row, values in zip(ids.tolist(), x if with_values else torch.ones_like(x), strict=True):
        pairs = permutations(zip(row, values, strict=True), 2)
        expected.append(torch.stack([_triangle(v[i], v[j]) * s * t for (i, s), (j, t) in pairs]).sum())
    total = torch.stack(expected)
    scores = model(ids, x) if with_values else model(ids)
    torch.testing.assert_close(scores, total, rtol=0, atol=1e-9)
    (slow,) = torch.autograd.grad(total.sin().sum(), model.table.weight)
    (fast,) = torch.autograd.grad(scores.sin().sum(), model.table.weight)
    torch.testing.assert_close(fast.to_dense(), slow, rtol=0, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4))
def test_a_pair_of_lorentzfm_agrees_with_fifty_digits_and_is_bounded(numbers: list[float]) -> None:
    model = LorentzFM(Schema((Field("a", "context", 1), Field("b", "context", 1))), dim=3).double()
    with torch.no_grad():
        model.table.weight.copy_(torch.tensor(numbers).view(2, 2))
    with mpmath.workdps(50):
        u, v = (mpmath.matrix(row) for row in model.table.weight.tolist())
        u0, v0 = (mpmath.sqrt(1 + sum(t**2 for t in p)) for p in (u, v))
        exact = 2 * (1 + u0 * v0 - u[0] * v[0] - u[1] * v[1] - u0 - v0) / (u0 * v0)
        score = model(torch.tensor([0, 1])).item()
        assert score == pytest.approx(float(exact), abs=1e-12)
    assert -1 - 1e-12 <= score <= 4 + 1e-12  # twice [-1/2, 2]


def test_lorentzfm_stays_finite_in_float32_as_far_out_as_points_may_go() -> None:
    model = LorentzFM(SCHEMA, dim=4)
    with torch.no_grad():
        model.table.weight.copy_(model.table.weight.manifold.project(1e30 * torch.randn(model.table.weight.shape)))
    ids, _ = _random_rows()
    scores = model(ids)
    scores.sum().backward()
    assert torch.isfinite(scores).all()
    assert torch.isfinite(model.table.weight.grad.to_dense()).all()
    pairs = SCHEMA.n_columns * (SCHEMA.n_columns - 1)
    assert scores.min() >= -0.5 * pairs
    assert scores.max() <= 2 * pairs


def test_lr_is_a_sum_of_weights() -> None:
    ids, x = _random_rows()
    model = _spread(LR(SCHEMA))
    expected = model.bias + (model.table.weight[ids.long()].squeeze(-1) * x).sum(-1)
    torch.testing.assert_close(model(ids, x), expected, rtol=0, atol=1e-12)


def test_mf_reads_the_first_user_and_item_column_only() -> None:
    ids, _ = _random_rows()
    model = _spread(MF(SCHEMA, dim=3))
    u, i = model.tables.user.weight[ids[:, 0].long()], model.tables.item.weight[ids[:, 1].long() - 9]
    expected = model.bias + u[:, 0] + i[:, 0] + (u[:, 1:] * i[:, 1:]).sum(-1)
    torch.testing.assert_close(model(ids), expected, rtol=0, atol=1e-12)
    changed = ids.clone()
    changed[:, 2:] = SCHEMA.offsets[2]
    assert torch.equal(model(changed), model(ids))


@pytest.mark.parametrize("kind", KINDS)
def test_deepfm_with_a_silent_perceptron_is_fm(kind: str) -> None:
    schema, rows = tiny(kind).schema, labeled(tiny(kind)).rows()
    fm, deep = _spread(FM(schema, dim=4)), _spread(DeepFM(schema, dim=4, hidden=(7, 5)))
    deep.load_state_dict(fm.state_dict(), strict=False)
    with torch.no_grad():
        deep.rest[-1].weight.zero_()
        deep.rest[-1].bias.zero_()
    torch.testing.assert_close(deep(*rows), fm(*rows), rtol=0, atol=1e-12)


def test_deepfm_adds_a_perceptron_on_scaled_vectors() -> None:
    ids, x = _random_rows()
    deep, fm = _spread(DeepFM(SCHEMA, dim=4, hidden=(7, 5))), _spread(FM(SCHEMA, dim=4))
    fm.load_state_dict({k: v for k, v in deep.state_dict().items() if k in fm.state_dict()})
    h = (deep.table.weight[ids.long(), 1:] * x.unsqueeze(-1)).reshape(len(ids), -1)
    for layer in (deep.first, deep.rest[2], deep.rest[5]):
        h = h @ layer.weight.T + layer.bias
        h = h.clamp_min(0) if layer.out_features > 1 else h
    torch.testing.assert_close(deep(ids, x), fm(ids, x) + h.squeeze(-1), rtol=0, atol=1e-10)


def test_deepfm_drops_out_while_training_only() -> None:
    ids, _ = _random_rows()
    model = DeepFM(SCHEMA, dim=4, dropout=0.5, init_std=1.0)
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))


def _mobius_distance(x: Tensor, y: Tensor, c: float) -> Tensor:
    """Equation 9 by equation 5."""
    x, dot = -x, (-x * y).sum(-1, keepdim=True)
    xx, yy = x.square().sum(-1, keepdim=True), y.square().sum(-1, keepdim=True)
    total = ((1 + 2 * c * dot + c * yy) * x + (1 - c * xx) * y) / (1 + 2 * c * dot + c**2 * xx * yy)
    return 2 / c**0.5 * torch.atanh(c**0.5 * torch.linalg.vector_norm(total, dim=-1))


@pytest.mark.parametrize("curvature", [0.5, 1.0, 4.0])
def test_hyperml_scores_minus_the_squared_gyrovector_distance(curvature: float) -> None:
    ids, _ = _random_rows()
    model = HyperML(SCHEMA, dim=3, curvature=curvature).double()
    with torch.no_grad():
        for table in (model.tables.user, model.tables.item):
            table.weight.copy_(table.weight.manifold.project(0.4 / curvature**0.5 * torch.randn(table.weight.shape)))
    u, i = model.tables.user.weight[ids[:, 0].long()], model.tables.item.weight[ids[:, 1].long() - 9]
    inside = (curvature * u.square().sum(-1) < 0.99) & (curvature * i.square().sum(-1) < 0.99)
    assert inside.sum() > 10
    expected = -_mobius_distance(u, i, curvature).square()
    torch.testing.assert_close(model(ids)[inside], expected[inside], rtol=1e-9, atol=1e-9)
    if curvature == 1.0:
        margin = (1 - u.square().sum(-1)) * (1 - i.square().sum(-1))
        poincare = torch.arccosh(1 + 2 * (u - i).square().sum(-1) / margin)
        torch.testing.assert_close(model(ids)[inside], -poincare.square()[inside], rtol=1e-9, atol=1e-9)


def test_hyperml_without_curvature_is_twice_the_euclidean_distance() -> None:
    ids, _ = _random_rows()
    model = _spread(HyperML(SCHEMA, dim=3, curvature=1e-12))
    u, i = model.tables.user.weight[ids[:, 0].long()], model.tables.item.weight[ids[:, 1].long() - 9]
    torch.testing.assert_close(model(ids), -4 * (u - i).square().sum(-1), rtol=1e-8, atol=0)


def test_hyperml_ranks_points_near_the_rim_by_inner_products() -> None:
    model = HyperML(SCHEMA, dim=3)
    with torch.no_grad():
        direction = torch.nn.functional.normalize(torch.randn(model.tables.item.weight.shape), dim=-1)
        model.tables.item.weight.copy_(0.9999 * direction)
        model.tables.user.weight.copy_(0.9999 * direction[[1]] + 1e-6)
    items = torch.arange(1, 6).unsqueeze(1) + 9
    (a, p), (b, q) = model.encode_query(torch.tensor([[1]])), model.encode_item(items)
    scores = model.interact(model.query_state(torch.tensor([[1]])), model.item_state(items))
    torch.testing.assert_close(model.link(a + b + q @ p[0]), scores.double(), rtol=1e-4, atol=1e-7)


def test_cml_scores_minus_the_squared_distance_within_the_unit_ball() -> None:
    ids, _ = _random_rows()
    model = _spread(CML(SCHEMA, dim=3), 1.0)

    def clip(v: Tensor) -> Tensor:
        return torch.stack([r / max(1.0, r.norm().item()) for r in v])

    u, i = clip(model.tables.user.weight[ids[:, 0].long()]), clip(model.tables.item.weight[ids[:, 1].long() - 9])
    torch.testing.assert_close(model(ids), -(u - i).square().sum(-1), rtol=0, atol=1e-12)
    assert (model.tables.user.weight.norm(dim=-1) > 1).any()
    assert model.user_points(ids[:, :1]).norm(dim=-1).max() <= 1 + 1e-12


@pytest.mark.parametrize("make", [CML, HyperML])
def test_metric_models_start_near_the_origin(make: type[nn.Module]) -> None:
    schema = Schema((Field("user", "user", 500), Field("item", "item", 400)), 499, 399)
    weight = make(schema, dim=64).tables.user.weight
    bound = (3 * 0.01**2 / (2 * 64)) ** (1 / 3)
    assert 0.99 * bound < weight.abs().max() <= bound
    assert abs(weight.var().item() / (bound**2 / 3) - 1) < 0.03


def test_popularity_counts_training_positives() -> None:
    dataset = tiny("numeric")
    model, batch = Popularity(dataset.schema), candidates(dataset)
    assert batch.item is not None
    model.fit_interactions(torch.tensor([0, 0, 3, 1]), torch.tensor([2, 2, 2, 10]))
    expected = torch.zeros(11)
    expected[2], expected[10] = 3, 1
    assert torch.equal(model(*batch.rows()), expected[batch.item])
    unknown = torch.tensor([[dataset.schema.offsets[4]]])
    assert model.encode_item(unknown)[0].item() == 0


@pytest.mark.parametrize("make", [MF, CML, HyperML, Popularity])
def test_models_of_users_and_items_refuse_rows_without_them(make: type[nn.Module]) -> None:
    with pytest.raises(FmlabError, match="needs users and items"):
        make(tiny("rows").schema)


@pytest.mark.parametrize("make", [MF, CML, HyperML])
def test_models_of_ids_refuse_a_first_field_that_is_no_id(make: type[nn.Module]) -> None:
    tags = Schema((Field("tags", "user", 9, slots=2), Field("item", "item", 6)), 8, 5)
    with pytest.raises(FmlabError, match="'tags', which is multi-valued"):
        make(tags)


def test_popularity_refuses_a_first_item_field_that_is_shared_by_items() -> None:
    with pytest.raises(FmlabError, match="one feature for each of the 5 items"):
        Popularity(Schema((Field("user", "user", 9), Field("brand", "item", 3)), 8, 5))


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_parameter_counts_are_those_of_the_papers() -> None:
    """m counts one unknown feature for each field, which the papers' m leaves out or not without saying so."""
    m, k = SCHEMA.n_features, 10
    assert m == 9 + 6 + 5
    assert _count(LR(SCHEMA)) == m + 1
    assert _count(FM(SCHEMA, dim=k)) == m + m * k + 1
    assert _count(LorentzFM(SCHEMA, dim=k)) == m * (k - 1)
    assert _count(MF(SCHEMA, dim=k)) == (9 + 6) * (1 + k) + 1
    assert _count(HyperML(SCHEMA, dim=k)) == _count(CML(SCHEMA, dim=k)) == (9 + 6) * k
