"""BM25 beside the weights of terms, written out."""

import math

import numpy as np
import pytest
from fmlab_models.bm25 import BM25
from item_neighbors import ITEMS, SCHEMA, USERS, X, nearest, scores_are


def weights(k1: float, b: float) -> np.ndarray:
    """Of each user and item, term by term."""
    found, mean = np.zeros((USERS, ITEMS)), X.sum() / USERS
    for u, i in zip(*np.nonzero(X), strict=True):
        rarity = math.log(USERS) - math.log1p(X[:, i].sum())
        found[u, i] = (k1 + 1) / (1 + k1 * ((1 - b) + b * X[u].sum() / mean)) * rarity
    return found


@pytest.mark.parametrize(("k1", "b", "neighbors"), [(1.2, 0.75, 100), (0.0, 0.5, 100), (7.5, 0.0, 100), (2.3, 1.0, 4)])
def test_bm25_sums_products_of_the_weights_of_terms(
    k1: float, b: float, neighbors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = weights(k1, b)
    expected = X @ nearest(w.T @ w, neighbors).T
    scores_are(lambda: BM25(SCHEMA, k1=k1, b=b, n_neighbors=neighbors), expected, monkeypatch, atol=1e-6)
