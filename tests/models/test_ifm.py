"""IFM, INN and DeepIFM against the formulas written out row by row, their variants against each other, and counts."""

import math
from itertools import combinations
from typing import Any

import pytest
import torch
from field_rows import SCHEMA, randomize, rows, single
from fmlab_models import _interactions
from fmlab_models._interactions import InteractionAware, importance
from fmlab_models.afm import AFM
from fmlab_models.deepfm import DeepFM
from fmlab_models.fm import FM
from fmlab_models.ifm import IFM, INN, DeepIFM
from fmlab_models.nfm import NFM
from torch import Tensor

from fmlab.data import Field, Schema
from fmlab.errors import FmlabError

SMALL: dict[str, Any] = {"dim": 3, "attention_dim": 4, "field_dim": 2, "dropout": 0.0}
FIELD = SCHEMA.column_field
VARIANTS: dict[str, dict[str, Any]] = {
    "ifm": {},
    "unfactorised": {"factorized": False},
    "feature aspect": {"components": "feature"},
    "field aspect": {"components": "field"},
    "cold": {"temperature": 0.5},
}


def prototype(m: InteractionAware, f: int, g: int) -> Tensor:
    if m.components == "feature":
        return torch.ones(3, dtype=torch.float64)
    if len(m.factors) == 1:
        return m.factors[0][m.fields.index((f, g))]
    u, d = m.factors
    return d.T @ (u[f] * u[g])


def worth(model: Any, row: list[int], x: Tensor, pairs: list[tuple[int, int]]) -> Tensor:
    """`T F * v_i * v_j x_i x_j` of the given pairs of columns: `[pairs, k]`."""
    m, v = model.pairs, model.table.weight[:, 1:]
    crossed = [v[row[c]] * v[row[d]] * x[c] * x[d] for c, d in pairs]
    if m.components == "field":
        share = torch.ones(len(pairs), dtype=torch.float64)
    else:
        logits = [m.query @ torch.relu(m.weight @ e + m.offset) / m.temperature for e in crossed]
        share = torch.softmax(torch.stack(logits), 0)
    scaled = [t * prototype(m, FIELD[c], FIELD[d]) * e for t, e, (c, d) in zip(share, crossed, pairs, strict=True)]
    return torch.stack(scaled)


def linear(model: Any, row: list[int], x: Tensor) -> Tensor:
    return model.bias + sum(model.table.weight[i, 0] * x[c] for c, i in enumerate(row))


ALL = list(combinations(range(SCHEMA.n_columns), 2))


def same(found: Tensor, wanted: Tensor, model: torch.nn.Module) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-9)
    parameters = list(model.parameters())
    a, b = (torch.autograd.grad((s * s).sum(), parameters) for s in (found, wanted))
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one.to_dense(), other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("with_values", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_ifm_and_its_gradients_are_those_of_the_double_sum(variant: str, with_values: bool) -> None:
    model, (ids, values) = randomize(IFM(SCHEMA, **SMALL | VARIANTS[variant])), rows()
    x = values if with_values else torch.ones_like(values)
    expected = torch.stack(
        [linear(model, r, y) + worth(model, r, y, ALL).sum() for r, y in zip(ids.tolist(), x, strict=True)]
    )
    same(model(ids, values if with_values else None), expected, model)


@pytest.mark.parametrize("variant", VARIANTS)
def test_inn_is_a_perceptron_on_the_weighed_pairs(variant: str) -> None:
    model, (ids, values) = randomize(INN(SCHEMA, hidden=(4,), **SMALL | VARIANTS[variant])), rows()
    first, last = model.layers[0], model.layers[-1]

    def one(row: list[int], x: Tensor) -> Tensor:
        hidden = torch.relu(first.weight @ worth(model, row, x, ALL).flatten() + first.bias)
        return linear(model, row, x) + (last.weight @ hidden + last.bias)[0]

    same(model(ids, values), torch.stack([one(r, x) for r, x in zip(ids.tolist(), values, strict=True)]), model)


def test_deepifm_is_ifm_and_a_perceptron_on_the_same_vectors() -> None:
    model, (ids, values) = randomize(DeepIFM(SCHEMA, hidden=(4,), **SMALL)), rows()
    first, last = model.layers[0], model.layers[-1]

    def one(row: list[int], x: Tensor) -> Tensor:
        inputs = (model.table.weight[row, 1:] * x.unsqueeze(1)).flatten()
        hidden = torch.relu(first.weight @ inputs + first.bias)
        return linear(model, row, x) + worth(model, row, x, ALL).sum() + (last.weight @ hidden + last.bias)[0]

    same(model(ids, values), torch.stack([one(r, x) for r, x in zip(ids.tolist(), values, strict=True)]), model)


def test_with_both_aspects_off_it_is_a_factorization_machine() -> None:
    """F = 1 and T = 1: equation 3."""
    model, fm = randomize(IFM(SCHEMA, **SMALL, components="field", factorized=False)), randomize(FM(SCHEMA, dim=3), 1)
    model.warm_start(fm)
    with torch.no_grad():
        model.pairs.factors[0].fill_(1.0)
    ids, values = rows()
    torch.testing.assert_close(model(ids, values), fm(ids, values), rtol=0, atol=1e-9)


def test_a_hot_attention_is_the_mean_over_pairs() -> None:
    model, (ids, values) = randomize(IFM(SCHEMA, **SMALL, components="feature", temperature=1e12)), rows()
    plain = randomize(FM(SCHEMA, dim=3))
    with torch.no_grad():
        plain.bias.copy_(model.bias)
        plain.table.weight.copy_(model.table.weight)
    first = torch.stack([linear(model, r, x) for r, x in zip(ids.tolist(), values, strict=True)])
    expected = first + (plain(ids, values) - first) / len(ALL)
    torch.testing.assert_close(model(ids, values), expected, rtol=0, atol=1e-8)


def test_the_free_tensor_of_the_factors_gives_the_same() -> None:
    source, target = randomize(IFM(SCHEMA, **SMALL)), IFM(SCHEMA, **SMALL, factorized=False).double()
    state = {k: v for k, v in source.state_dict().items() if "factors" not in k}
    target.load_state_dict(state | {"pairs.factors.0": source.pairs.prototypes().detach()})
    ids, values = rows()
    torch.testing.assert_close(target(ids, values), source(ids, values), rtol=0, atol=1e-9)


def test_evaluation_keeps_the_sampled_number_of_pairs_of_largest_norm() -> None:
    model, (ids, values) = randomize(IFM(SCHEMA, **SMALL, n_pairs=5)).eval(), rows()
    norms = [float(prototype(model.pairs, FIELD[c], FIELD[d]).norm().detach()) for c, d in ALL]
    kept = sorted(norms, reverse=True)[4]
    largest = [p for p, n in zip(ALL, norms, strict=True) if n >= kept]
    if len(largest) > 5:  # pairs of slots of the same fields tie
        pytest.fail("choose a seed without ties at the edge")
    expected = [
        linear(model, r, x) + worth(model, r, x, largest).sum() for r, x in zip(ids.tolist(), values, strict=True)
    ]
    torch.testing.assert_close(model(ids, values), torch.stack(expected), rtol=1e-10, atol=1e-9)


def test_pairs_are_drawn_by_the_norms_of_their_fields() -> None:
    """One of three pairs of fields whose norms are 1, 2 and 5."""
    model = IFM(single(3), **SMALL, n_pairs=1, factorized=False)
    with torch.no_grad():
        model.pairs.factors[0].copy_(torch.tensor([[1.0, 0, 0], [0, 2, 0], [3, 4, 0]]))
    torch.manual_seed(0)
    drawn = [int(model.pairs._drawn(model.pairs.prototypes())[2]) for _ in range(4000)]
    shares = torch.bincount(torch.tensor(drawn), minlength=3) / 4000
    torch.testing.assert_close(shares, torch.tensor([1 / 8, 2 / 8, 5 / 8]), rtol=0, atol=0.03)


def test_no_sample_is_larger_than_all_pairs() -> None:
    model, (ids, values) = randomize(IFM(SCHEMA, **SMALL, n_pairs=10_000)), rows()
    torch.testing.assert_close(model(ids, values), randomize(IFM(SCHEMA, **SMALL))(ids, values), rtol=0, atol=1e-12)


def test_field_decay_adds_to_the_gradients_of_u_and_d_alone() -> None:
    (ids, values), grads = rows(), []
    for decay in (0.0, 0.3):
        model = randomize(IFM(SCHEMA, **SMALL, field_decay=decay))
        (model(ids, values).square().sum() + model.regularization()).backward()
        grads.append({n: p.grad.to_dense() for n, p in model.named_parameters()})
    for name, parameter in model.named_parameters():
        more = 0.3 * parameter.detach() if "factors" in name else torch.zeros_like(parameter)
        torch.testing.assert_close(grads[1][name], grads[0][name] + more, rtol=1e-9, atol=1e-9)


def test_dropout_is_drawn_for_every_coordinate_and_keeps_the_mean() -> None:
    model, (ids, values) = randomize(IFM(SCHEMA, **SMALL | {"dropout": 0.5})), rows(n=1)
    torch.manual_seed(0)
    scores = model(ids.expand(20_000, -1), values.expand(20_000, -1))
    expected = model.eval()(ids, values)
    assert len(scores.unique()) > 10_000
    error = scores.std() / math.sqrt(len(scores))
    assert (scores.mean() - expected).abs() < 5 * error


def test_keys_too_long_for_a_number_are_ranked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (ids, values) = randomize(IFM(SCHEMA, **SMALL)), rows()
    expected = model(ids, values)
    monkeypatch.setattr(_interactions, "_BITS", 0)
    torch.testing.assert_close(model(ids, values), expected, rtol=0, atol=1e-12)


def test_importance_is_norms_and_shares_as_in_table_3() -> None:
    model = IFM(single(3), **SMALL, factorized=False)
    with torch.no_grad():
        model.pairs.factors[0].copy_(torch.tensor([[3.0, 4, 0], [0, 12, 5], [0, 0, 2]]))
    found = importance(model.pairs, ["user", "movie", "tag"])
    wanted = {("user", "movie"): (5, 0.25), ("user", "tag"): (13, 0.65), ("movie", "tag"): (2, 0.1)}
    assert found.keys() == wanted.keys()
    for pair, value in wanted.items():
        assert found[pair] == pytest.approx(value)


def test_parameters_are_counted() -> None:
    schema, k, ka, kf = single(5), 7, 4, 3
    m, n = schema.n_features, 5
    options: dict[str, Any] = {"dim": k, "attention_dim": ka, "field_dim": kf}
    fm, attention = m + m * k + 1, ka * k + 2 * ka

    def count(model: torch.nn.Module) -> int:
        return sum(p.numel() for p in model.parameters())

    assert count(IFM(schema, **options)) == fm + attention + n * kf + kf * k
    assert count(IFM(schema, **options, factorized=False)) == fm + attention + 10 * k
    assert count(IFM(schema, **options, components="feature")) == fm + attention
    assert count(IFM(schema, **options, components="field")) == fm + n * kf + kf * k
    assert count(INN(schema, **options, hidden=(6,))) == fm + attention + n * kf + kf * k + 10 * k * 6 + 6 + 7


def test_frappe_has_the_parameters_of_table_2() -> None:
    """1.46M: 5,382 features; ours count an unknown feature for each of the ten fields as well."""
    sizes = (957, 4082, 7, 7, 2, 3, 2, 9, 80, 233)
    schema = Schema(tuple(Field(f"f{n}", "context", size) for n, size in enumerate(sizes)))
    assert schema.n_features == 5382
    count = sum(p.numel() for p in IFM(schema).parameters())
    assert count == 5382 + 5382 * 256 + 1 + 10 * 26 + 26 * 256 + 256 * 256 + 2 * 256
    assert 1.455e6 < count < 1.465e6


@pytest.mark.parametrize("model", [IFM, INN, DeepIFM])
def test_rows_of_one_column_are_refused(model: Any) -> None:
    with pytest.raises(FmlabError, match="rows of 1; models for one: lr"):
        model(Schema((Field("only", "context", 4),)))


@pytest.mark.parametrize("model", [IFM, INN, DeepIFM])
def test_a_warm_start_needs_vectors_of_one_size(model: Any) -> None:
    with pytest.raises(FmlabError, match="pre-trained fm"):
        model(SCHEMA, **SMALL).warm_start(FM(SCHEMA, dim=4))


@pytest.mark.parametrize("model", [NFM, AFM, DeepFM, INN])
def test_a_warm_start_takes_over_all_that_a_factorization_machine_has(model: Any) -> None:
    fm, started = randomize(FM(SCHEMA, dim=3)), model(SCHEMA, dim=3).double()
    started.warm_start(fm)
    own = dict(started.named_parameters())
    for name, parameter in fm.named_parameters():
        assert torch.equal(own[name], parameter)
        assert own[name] is not parameter
