"""RP3beta beside walks that are followed step by step."""

import numpy as np
import pytest
import torch
from fmlab_models import _histories
from fmlab_models.rp3beta import RP3Beta

from fmlab.data import Field, Schema

USERS, ITEMS = 13, 19
SCHEMA = Schema((Field("user", "user", USERS + 1), Field("item", "item", ITEMS + 1)), USERS, ITEMS)
X = (np.random.default_rng(1).random((USERS, ITEMS)) < 0.3).astype(float)
X[4] = 0
X[:, 7] = 0
MET = [torch.tensor(np.concatenate([a, a[:5]])) for a in np.nonzero(X)]  # some pairs twice, which must not count


def walks(alpha: float, beta: float, neighbors: int) -> np.ndarray:
    """Scores of all users and items by following each walk user, item, user, item."""
    users, items = X.sum(1), X.sum(0)
    step = np.zeros((ITEMS, ITEMS))  # from j to i
    for j in range(ITEMS):
        for v in np.flatnonzero(X[:, j]):
            for i in np.flatnonzero(X[v]):
                if i != j:
                    step[j, i] += (1 / items[j]) ** alpha * (1 / users[v]) ** alpha / items[i] ** beta
    for i in range(ITEMS):
        order = np.argsort(-step[:, i])
        edge = step[order[neighbors - 1 : neighbors + 1], i]
        if len(edge) == 2 and np.isclose(*edge) and edge[0] > 0:
            step[:, i] = np.nan  # which of two equals is nearer is nobody's business
        step[order[neighbors:], i] = 0
    return X @ step


@pytest.mark.parametrize(("alpha", "beta", "neighbors"), [(1.0, 0.0, 100), (0.6, 0.3, 100), (0.83, 0.47, 4)])
def test_rp3beta_is_a_walk_of_three_steps_over_popularity(
    alpha: float, beta: float, neighbors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_histories, "_BLOCK", 5)
    model = RP3Beta(SCHEMA, alpha=alpha, beta=beta, n_neighbors=neighbors)
    model.fit_interactions(*MET)
    user, item = torch.meshgrid(torch.arange(USERS), torch.arange(ITEMS), indexing="ij")
    found = model(torch.stack([user + 1, item + USERS + 2], -1))
    expected = walks(alpha, beta, neighbors)
    defined = ~np.isnan(expected)
    assert defined.mean() > 0.5
    np.testing.assert_allclose(found.numpy()[defined], expected[defined], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(model.catalog_scores(user[:, :1] + 1), found)
    assert not found[4].any()
    assert not found[:, 7].any()


def test_without_powers_it_is_item_neighbors_by_number() -> None:
    """With both powers 0 the weight of two items is how many users have met both."""
    model = RP3Beta(SCHEMA, alpha=0, beta=0)
    model.fit_interactions(*MET)
    both = X.T @ X
    np.fill_diagonal(both, 0)
    other = torch.arange(ITEMS).unsqueeze(1) + USERS + 2
    np.testing.assert_allclose(model.compare_items(other, None, other), both, atol=1e-6)
