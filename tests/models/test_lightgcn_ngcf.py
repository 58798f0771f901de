"""LightGCN and NGCF against dense matrices, and what they keep between steps, evaluations and checkpoints."""

from typing import Any

import numpy as np
import pytest
import torch
from field_rows import randomize
from fmlab_models.lightgcn import LightGCN
from fmlab_models.mf import MF
from fmlab_models.ngcf import NGCF
from fmlab_models.pmf import PMF
from torch import Tensor, nn
from torch.nn import functional

from fmlab.data import Field, Schema
from fmlab.data.batch import Features
from fmlab.errors import FmlabError
from fmlab.nn.scoring import score
from fmlab.testing import candidates, tiny

USERS, ITEMS = 6, 8
NODES = USERS + ITEMS + 2
SCHEMA = Schema((Field("user", "user", USERS + 1), Field("item", "item", ITEMS + 1)), USERS, ITEMS)
X = np.random.default_rng(0).random((USERS, ITEMS)) < 0.4
X[2] = False  # a user without positives
MET = [torch.tensor(np.concatenate([a, a[:4]])) for a in np.nonzero(X)]
IDS = torch.cartesian_prod(torch.arange(USERS + 1), torch.arange(USERS + 1, USERS + ITEMS + 2))


def adjacency() -> Tensor:
    a = torch.zeros(NODES, NODES, dtype=torch.float64)
    a[1 : USERS + 1, USERS + 2 :] = torch.tensor(X, dtype=torch.float64)
    a = a + a.T
    root = a.sum(1).clamp_min(1).sqrt()
    return a / root / root.unsqueeze(1)


def product(vectors: Tensor) -> Tensor:
    """Scores of IDS: its items stand at the places of their ids."""
    return (vectors[IDS[:, 0]] * vectors[IDS[:, 1]]).sum(1)


def made(kind: Any, **options: Any) -> Any:
    model = randomize(kind(SCHEMA, dim=3, **options))
    model.fit_interactions(*MET)
    return model


def of_ngcf(model: Any) -> Tensor:
    a, layer = adjacency(), model.nodes
    layers = [layer]
    for w1, w2 in zip(model.own, model.joint, strict=True):
        layer = functional.leaky_relu((a + torch.eye(NODES)) @ layer @ w1 + (a @ layer * layer) @ w2, 0.2)
        layers.append(layer / layer.norm(dim=1, keepdim=True) if model.normalized else layer)
    return torch.cat(layers, 1)


def same(model: nn.Module, expected: Tensor) -> None:
    parameters = list(model.parameters())
    wanted = torch.autograd.grad((expected * expected).sum(), parameters)
    for found in (model(IDS), sides(model)):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
        for a, b in zip(torch.autograd.grad((found * found).sum(), parameters), wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def sides(model: Any) -> Tensor:
    (a, p), (b, q) = model.encode_query(IDS[:, :1]), model.encode_item(IDS[:, 1:])
    return a + b + (p * q).sum(-1)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_lightgcn_is_the_mean_of_powers_of_the_adjacency(layers: int) -> None:
    model, a = made(LightGCN, layers=layers), adjacency()
    powers = sum(torch.linalg.matrix_power(a, n) for n in range(layers + 1)) / (layers + 1)
    same(model, product(powers @ model.nodes))


@pytest.mark.parametrize("normalized", [True, False])
def test_ngcf_is_its_matrix_form(normalized: bool) -> None:
    model = made(NGCF, hidden=(4, 2), dropout=0.0, normalized=normalized)
    same(model, product(of_ngcf(model)))


def test_without_layers_both_are_an_inner_product() -> None:
    pmf = randomize(PMF(SCHEMA, dim=3))
    for model in (made(LightGCN, layers=0), made(NGCF, hidden=())):
        with torch.no_grad():
            model.nodes.copy_(torch.cat([pmf.tables.user.weight, pmf.tables.item.weight]))
        torch.testing.assert_close(model(IDS), pmf(IDS), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [LightGCN, NGCF])
def test_a_step_propagates_once_and_an_evaluation_not_at_all(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data, runs = tiny("interactions"), []
    model, batch = kind(data.schema, dim=3), candidates(data)
    model.fit_interactions(batch.user, batch.item[:, 0])
    plain = model.propagate
    monkeypatch.setattr(model, "propagate", lambda: runs.append(1) or plain())
    for _ in range(3):
        score(model, batch).sum().backward()
    assert len(runs) == 3
    model.eval()
    with torch.no_grad():
        for _ in range(3):
            score(model, batch)
    assert len(runs) == 4


@pytest.mark.parametrize("kind", [LightGCN, NGCF])
def test_sides_encoded_together_are_those_encoded_apart(kind: Any) -> None:
    model = made(kind)
    model.eval()  # no dropout
    (a, p), (b, q) = model.encode_sides(Features(IDS[:, :1], None), Features(IDS[:, 1:], None))
    torch.testing.assert_close(a + b + (p * q).sum(-1), model(IDS), rtol=1e-10, atol=1e-10)
    q.sum().backward()
    with torch.no_grad():
        model.nodes.mul_(2)
    _, after = model.encode_query(IDS[:, :1])
    assert not torch.allclose(after, p), "nothing is kept from one call to the next"


@pytest.mark.parametrize("kind", [LightGCN, NGCF])
def test_a_checkpoint_of_an_evaluated_model_scores_without_the_graph(kind: Any) -> None:
    model = made(kind).eval()
    rebuilt = kind(SCHEMA, dim=3).double()
    rebuilt.load_state_dict(model.state_dict())
    rebuilt.eval()
    assert torch.equal(rebuilt(IDS), model(IDS))
    with torch.no_grad():
        assert torch.equal(sides(rebuilt), sides(model))


@pytest.mark.parametrize("kind", [LightGCN, NGCF])
def test_rows_without_users_and_items_are_refused(kind: Any) -> None:
    with pytest.raises(FmlabError, match="needs users and items"):
        kind(Schema((Field("site", "context", 9),)))


@pytest.mark.parametrize("kind", [LightGCN, MF])
def test_l2_of_a_batch_counts_every_lookup(kind: Any) -> None:
    data = tiny("interactions")
    model, batch = randomize(kind(data.schema, dim=3, batch_l2=0.25)), candidates(data)
    if kind is LightGCN:
        users, items = model.nodes.detach()[: data.schema.n_users + 1], model.nodes.detach()[data.schema.n_users + 1 :]
    else:
        users, items = model.tables.user.weight.detach(), model.tables.item.weight.detach()
    expected, gradient = 0.0, torch.zeros_like(users)
    for user, row in zip(batch.user.tolist(), batch.item.tolist(), strict=True):
        expected += float(users[user + 1].square().sum() + sum(items[i + 1].square().sum() for i in row))
        gradient[user + 1] += 0.25 * users[user + 1] / batch.size
    found = model.batch_regularization(batch)
    assert float(found.detach()) == pytest.approx(0.25 * expected / (2 * batch.size), rel=1e-12)
    found.backward()
    given = (model.nodes if kind is LightGCN else model.tables.user.weight).grad.to_dense()[: len(users)]
    torch.testing.assert_close(given, gradient, rtol=1e-12, atol=1e-12)


def test_no_l2_of_a_batch_is_zero() -> None:
    data = tiny("interactions")
    assert float(MF(data.schema, dim=3).batch_regularization(candidates(data))) == 0


def test_parameters_are_counted() -> None:
    assert sum(p.numel() for p in LightGCN(SCHEMA, dim=3).parameters()) == NODES * 3
    count = sum(p.numel() for p in NGCF(SCHEMA, dim=3, hidden=(4, 2)).parameters())
    assert count == NODES * 3 + 2 * (3 * 4 + 4 * 2)


def test_dropout_of_messages_is_off_in_evaluation() -> None:
    model = made(NGCF, dropout=0.5)
    assert not torch.allclose(model(IDS), model(IDS))
    model.eval()
    torch.testing.assert_close(model(IDS), product(of_ngcf(model)), rtol=1e-10, atol=1e-10)
