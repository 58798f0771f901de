"""EASE, item neighbors and alternating least squares against dense arithmetic, one entity at a time."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from field_rows import single
from fmlab_models import _histories, _item_neighbors, ials
from fmlab_models.ease import EASE
from fmlab_models.ials import IALS
from fmlab_models.itemknn import ItemKNN
from fmlab_models.slim import SLIM

from fmlab.data import Field, Schema
from fmlab.errors import FmlabError

USERS, ITEMS = 13, 19
SCHEMA = Schema((Field("user", "user", USERS + 1), Field("item", "item", ITEMS + 1)), USERS, ITEMS)
RNG = np.random.default_rng(0)
X = (RNG.random((USERS, ITEMS)) < 0.3).astype(float)
X[4] = 0
X[:, 7] = 0
MET = [torch.tensor(np.concatenate([a, a[:5]])) for a in np.nonzero(X)]  # some pairs twice, which must not count


def scores(model: Any) -> np.ndarray:
    """Of all users and items, by whole rows and by sides."""
    model.fit_interactions(*MET)
    user, item = torch.meshgrid(torch.arange(USERS), torch.arange(ITEMS), indexing="ij")
    whole = model(torch.stack([user + 1, item + USERS + 2], -1))
    (a, p), (b, q) = model.encode_query(user[:, :1] + 1), model.encode_item(item[0].unsqueeze(1) + USERS + 2)
    torch.testing.assert_close(a.unsqueeze(1) + b + p @ q.T, whole, rtol=0, atol=1e-5)
    return whole.double().numpy()


@pytest.mark.parametrize("among", ["items", "users"])
@pytest.mark.parametrize("l2", [0.5, 20.0])
def test_ease_is_ridge_regression_of_every_item_on_all_others(
    l2: float, among: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The constraint of a zero diagonal, taken literally: a regression that leaves the item out."""
    monkeypatch.setattr("fmlab_models.ease._EXACT", ITEMS if among == "items" else 1)
    assert (EASE(SCHEMA).dual is None) == (among == "items")
    expected = np.empty_like(X)
    for j in range(ITEMS):
        others = [i for i in range(ITEMS) if i != j]
        z = X[:, others]
        expected[:, j] = z @ np.linalg.solve(z.T @ z + l2 * np.eye(ITEMS - 1), z.T @ X[:, j])
    np.testing.assert_allclose(scores(EASE(SCHEMA, l2=l2)), expected, atol=1e-5)


@pytest.mark.parametrize(("neighbors", "shrink"), [(100, 0.0), (3, 0.0), (4, 2.5)])
def test_itemknn_sums_shrunk_cosines_of_the_nearest(neighbors: int, shrink: float) -> None:
    expected = np.zeros_like(X)
    for j in range(ITEMS):
        similar = []
        for i in range(ITEMS):
            both, a, b = X[:, i] @ X[:, j], X[:, i].sum(), X[:, j].sum()
            similar.append(both / (math.sqrt(a * b) + shrink) if i != j and both else 0.0)
        order = np.argsort(similar)[::-1]
        edge = np.sort(similar)[::-1][: neighbors + 1]
        nearest = order[:neighbors]
        if neighbors < ITEMS and edge[-1] == edge[-2] > 0:
            expected[:, j] = np.nan  # which of two equals is nearer is nobody's business
        else:
            expected[:, j] = X[:, nearest] @ np.array(similar)[nearest]
    found, defined = scores(ItemKNN(SCHEMA, n_neighbors=neighbors, shrink=shrink)), ~np.isnan(expected)
    assert defined.mean() > 0.3
    np.testing.assert_allclose(found[defined], expected[defined], atol=1e-6)


def test_itemknn_scores_all_items_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_item_neighbors, "_CELLS", 7)  # several parts of a block
    monkeypatch.setattr(_histories, "_BLOCK", 5)
    model, user = ItemKNN(SCHEMA, n_neighbors=4, shrink=2.5), torch.tensor([[5], [0], [3], [3], [13]])
    whole = torch.from_numpy(np.vstack([np.zeros((1, ITEMS)), scores(model)])).float()
    torch.testing.assert_close(model.catalog_scores(user), whole[user[:, 0]])
    assert model.catalog_scores(user[1:2]).tolist() == [[0.0] * ITEMS]
    other = ItemKNN(SCHEMA, n_neighbors=4, shrink=2.5)
    assert not other.catalog_scores(user).any()
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.catalog_scores(user), whole[user[:, 0]])


def objective(p: np.ndarray, q: np.ndarray, alpha: float, l2: float, nu: float) -> float:
    s = p @ q.T
    decay = [l2 * (n + alpha * m) ** nu for n, m in ((X.sum(1), ITEMS), (X.sum(0), USERS))]
    fit = (X * (s - 1) ** 2).sum() + alpha * (s**2).sum()
    return float(fit + (decay[0] * (p**2).sum(1)).sum() + (decay[1] * (q**2).sum(1)).sum())


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_ials_solves_every_entity_and_lowers_the_objective(exponent: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ials, "_CELLS", 200)  # several groups of entities
    options: dict[str, Any] = {"dim": 4, "unobserved_weight": 0.2, "l2": 0.05, "reg_exponent": exponent}
    values = []
    for sweeps in (1, 2, 10, 400):
        torch.manual_seed(0)
        model = IALS(SCHEMA, **options, n_iterations=sweeps)
        scores(model)
        p, q = (t[1:].double().numpy() for t in (model.users, model.items))
        values.append(objective(p, q, 0.2, 0.05, exponent))
    assert values == sorted(values, reverse=True)
    for i in range(ITEMS):  # the last half sweep: normal equations, one item at a time
        met = p[X[:, i] > 0]
        system = met.T @ met + 0.2 * p.T @ p + 0.05 * (len(met) + 0.2 * USERS) ** exponent * np.eye(4)
        np.testing.assert_allclose(q[i], np.linalg.solve(system, met.sum(0)), atol=1e-5)
    for shift in (1e-2 * RNG.normal(size=p.shape) for _ in range(20)):
        assert objective(p + shift, q, 0.2, 0.05, exponent) > values[-1]


def test_histories_are_packed_and_unpacked() -> None:
    packed = _histories.pack(*MET, USERS, ITEMS)
    assert packed.shape == (USERS + 1, 3)
    unpacked = _histories.unpack(packed, ITEMS, torch.float64).numpy()
    np.testing.assert_array_equal(unpacked, np.vstack([np.zeros((1, ITEMS)), X]))


def test_cooccurrences_are_the_product_of_the_matrix_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_histories, "_BLOCK", 5)
    np.testing.assert_array_equal(_histories.cooccurrences(*MET, USERS, ITEMS).numpy(), X.T @ X)


@pytest.mark.parametrize("model", [EASE, ItemKNN, IALS])
def test_unknown_users_and_items_score_0(model: Any) -> None:
    made = model(SCHEMA)
    made.fit_interactions(*MET)
    assert made(torch.tensor([[0, USERS + 3], [2, USERS + 1]])).tolist() == [0, 0]


def test_more_items_than_fit_are_refused() -> None:
    schema = Schema((Field("user", "user", 3), Field("item", "item", 60_001)), 2, 60_000)
    assert len(ItemKNN(schema, n_neighbors=2).nearest) == 60_001, "which needs no number for every two items"
    assert EASE(schema).dual.kernel.shape == (3, 2)
    with pytest.raises(FmlabError, match="at most 55,000 of them, got 60,000 items and 70,000 users"):
        EASE(Schema((Field("user", "user", 70_001), Field("item", "item", 60_001)), 70_000, 60_000))


def test_ease_among_users_says_the_same_of_items_and_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    small = EASE(SCHEMA, l2=3.0)
    small.fit_interactions(*MET)
    monkeypatch.setattr("fmlab_models.ease._EXACT", 1)
    monkeypatch.setattr("fmlab_models._dual_ease._USERS", 4)
    monkeypatch.setattr("fmlab_models._dual_ease._PAIRS", 6)
    large = EASE(SCHEMA, l2=3.0)
    large.fit_interactions(*MET)
    rebuilt = EASE(SCHEMA, l2=3.0)
    rebuilt.load_state_dict(large.state_dict())
    items, query = torch.arange(ITEMS + 1).unsqueeze(1) + USERS + 1, torch.arange(USERS + 1).unsqueeze(1)
    for model in (large, rebuilt):
        expected = small.compare_items(items[1:], None, items)
        torch.testing.assert_close(model.compare_items(items[1:], None, items), expected, atol=1e-5, rtol=1e-4)
        dense = small.encode_query(query)[1] @ small.weight[1:].T
        torch.testing.assert_close(model.catalog_scores(query), dense, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("model", [EASE, ItemKNN, IALS])
def test_a_first_field_that_does_not_name_the_users_is_refused(model: Any) -> None:
    with pytest.raises(FmlabError, match="one feature for each of the 3 users and one unknown, got 'f0' with 6"):
        model(Schema(single(2, size=6).fields, 3, 5))


def test_ease_of_many_items_gives_the_same_in_less_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pairs = np.unique(rng.integers(0, 90 * 70, 900))
    user, item = torch.from_numpy(pairs // 70), torch.from_numpy(pairs % 70)
    schema = Schema((Field("user", "user", 92), Field("item", "item", 71)), 91, 70)  # the last user has met nothing
    small = EASE(schema, l2=5.0)
    small.fit_interactions(user, item)
    monkeypatch.setattr("fmlab_models.ease._EXACT", 10)
    monkeypatch.setattr("fmlab_models._inverse._ROWS", 16)
    large = EASE(schema, l2=5.0)
    large.fit_interactions(user, item)
    assert (small.in_place, large.in_place) == (False, True)
    torch.testing.assert_close(large.weight, small.weight, atol=1e-5, rtol=1e-4)
    query = torch.arange(1, 92).unsqueeze(1)
    dense = small.encode_query(query)[1] @ small.weight[1:].T
    torch.testing.assert_close(large.catalog_scores(query), dense, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("model", [EASE, SLIM])
def test_a_list_of_all_items_sums_what_was_met_and_not_what_was_fitted_before(model: Any) -> None:
    made, query = model(SCHEMA, l2=2.0), torch.tensor([[5], [0], [3], [3], [13]])
    for pairs in ([MET[0][::2], MET[1][::2]], MET):
        made.fit_interactions(*pairs)
        dense = made.encode_query(query)[1] @ made.weight[1:].T
        assert dense.any()
        torch.testing.assert_close(made.catalog_scores(query), dense)
    other = model(SCHEMA, l2=2.0)
    assert not other.catalog_scores(query).any()
    other.load_state_dict(made.state_dict())
    torch.testing.assert_close(other.catalog_scores(query), dense)
    torch.testing.assert_close(made.double().catalog_scores(query), dense.double())


def folded(model: Any) -> np.ndarray:
    return torch.stack([model.fold_in(torch.from_numpy(np.flatnonzero(x))) for x in X]).double().numpy()


@pytest.mark.parametrize("exact", [True, False])
def test_a_history_is_folded_into_ease_and_itemknn_exactly(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmlab_models.ease._EXACT", ITEMS if exact else 1)
    for model in (EASE(SCHEMA, l2=3.0), ItemKNN(SCHEMA, n_neighbors=4)):
        np.testing.assert_allclose(folded(model.eval()), np.zeros_like(X))
        found = scores(model)
        assert abs(found).max() > 0.1
        np.testing.assert_allclose(folded(model), found, atol=1e-5)


def test_a_history_is_folded_into_ials_by_the_step_of_a_sweep() -> None:
    model = IALS(SCHEMA, dim=4, n_iterations=2, unobserved_weight=0.2, l2=0.1, reg_exponent=0.5)
    scores(model)
    q, expected = model.items[1:].double().numpy(), []
    for x in X:
        decay = 0.1 * (x.sum() + 0.2 * ITEMS) ** 0.5
        system = (q.T * x) @ q + 0.2 * q.T @ q + decay * np.eye(4)
        expected.append(q @ np.linalg.solve(system, q.T @ x))
    np.testing.assert_allclose(folded(model), expected, atol=1e-6)
