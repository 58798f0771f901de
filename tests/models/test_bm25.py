"""BM25 beside the weights of terms, written out."""

import math

import numpy as np
import pytest
import torch
from fmlab_models import _histories
from fmlab_models.bm25 import BM25

from fmlab.data import Field, Schema

USERS, ITEMS = 13, 19
SCHEMA = Schema((Field("user", "user", USERS + 1), Field("item", "item", ITEMS + 1)), USERS, ITEMS)
X = (np.random.default_rng(1).random((USERS, ITEMS)) < 0.3).astype(float)
X[4] = 0
X[:, 7] = 0
MET = [torch.tensor(np.concatenate([a, a[:5]])) for a in np.nonzero(X)]  # some pairs twice, which must not count


def weights(k1: float, b: float) -> np.ndarray:
    """Of each user and item, term by term."""
    found, mean = np.zeros((USERS, ITEMS)), X.sum() / USERS
    for u, i in zip(*np.nonzero(X), strict=True):
        rarity = math.log(USERS) - math.log1p(X[:, i].sum())
        found[u, i] = (k1 + 1) / (1 + k1 * ((1 - b) + b * X[u].sum() / mean)) * rarity
    return found


def scores(k1: float, b: float, neighbors: int) -> np.ndarray:
    """Of all users and items; NaN for an item of which two are equally near at the edge."""
    w = weights(k1, b)
    similar = w.T @ w
    np.fill_diagonal(similar, 0)
    for i in range(ITEMS):
        order = np.argsort(-similar[i])
        edge = similar[i, order[neighbors - 1 : neighbors + 1]]
        if len(edge) == 2 and np.isclose(*edge) and edge[0] > 0:
            similar[i] = np.nan
        similar[i, order[neighbors:]] = 0
    return X @ similar.T


@pytest.mark.parametrize(("k1", "b", "neighbors"), [(1.2, 0.75, 100), (0.0, 0.5, 100), (7.5, 0.0, 100), (2.3, 1.0, 4)])
def test_bm25_sums_products_of_the_weights_of_terms(
    k1: float, b: float, neighbors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_histories, "_BLOCK", 5)
    model = BM25(SCHEMA, k1=k1, b=b, n_neighbors=neighbors)
    model.fit_interactions(*MET)
    user, item = torch.meshgrid(torch.arange(USERS), torch.arange(ITEMS), indexing="ij")
    found = model(torch.stack([user + 1, item + USERS + 2], -1))
    expected = scores(k1, b, neighbors)
    defined = ~np.isnan(expected)
    assert defined.mean() > 0.5
    np.testing.assert_allclose(found.numpy()[defined], expected[defined], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.catalog_scores(user[:, :1] + 1), found)
    assert not found[4].any()
    assert not found[:, 7].any()
