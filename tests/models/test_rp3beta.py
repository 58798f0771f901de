"""RP3beta beside walks that are followed step by step."""

import numpy as np
import pytest
import torch
from fmlab_models.rp3beta import RP3Beta
from item_neighbors import ITEMS, MET, SCHEMA, USERS, X, nearest, scores_are


def walks(alpha: float, beta: float, neighbors: int) -> np.ndarray:
    """Scores of all users and items by following each walk user, item, user, item."""
    users, items = X.sum(1), X.sum(0)
    step = np.zeros((ITEMS, ITEMS))  # from j to i
    for j in range(ITEMS):
        for v in np.flatnonzero(X[:, j]):
            for i in np.flatnonzero(X[v]):
                if i != j:
                    step[j, i] += (1 / items[j]) ** alpha * (1 / users[v]) ** alpha / items[i] ** beta
    return X @ nearest(step.T, neighbors).T


@pytest.mark.parametrize(("alpha", "beta", "neighbors"), [(1.0, 0.0, 100), (0.6, 0.3, 100), (0.83, 0.47, 4)])
def test_rp3beta_is_a_walk_of_three_steps_over_popularity(
    alpha: float, beta: float, neighbors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = walks(alpha, beta, neighbors)
    scores_are(lambda: RP3Beta(SCHEMA, alpha=alpha, beta=beta, n_neighbors=neighbors), expected, monkeypatch, atol=1e-7)


def test_without_powers_it_is_item_neighbors_by_number() -> None:
    """With both powers 0 the weight of two items is how many users have met both."""
    model = RP3Beta(SCHEMA, alpha=0, beta=0)
    model.fit_interactions(*MET)
    both = X.T @ X
    np.fill_diagonal(both, 0)
    other = torch.arange(ITEMS).unsqueeze(1) + USERS + 2
    np.testing.assert_allclose(model.compare_items(other, None, other), both, atol=1e-6)
