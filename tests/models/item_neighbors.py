"""Users who have met items, and how a model of item neighbors is compared with scores that are written out."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from fmlab_models import _histories
from fmlab_models._item_neighbors import ItemNeighbors

from fmlab.data import Field, Schema

USERS, ITEMS = 13, 19
SCHEMA = Schema((Field("user", "user", USERS + 1), Field("item", "item", ITEMS + 1)), USERS, ITEMS)
X = (np.random.default_rng(1).random((USERS, ITEMS)) < 0.3).astype(float)  # [USERS, ITEMS], 1 for what was met
X[4] = 0
X[:, 7] = 0
MET = [torch.tensor(np.concatenate([a, a[:5]])) for a in np.nonzero(X)]  # some pairs twice, which must not count


def nearest(similar: np.ndarray, neighbors: int) -> np.ndarray:
    """Row i with what the nearest items weigh for item i, else 0; NaN where two are equally near at the edge."""
    kept = similar.copy()
    np.fill_diagonal(kept, 0)
    for i in range(ITEMS):
        order = np.argsort(-kept[i])
        edge = kept[i, order[neighbors - 1 : neighbors + 1]]
        if len(edge) == 2 and np.isclose(*edge) and edge[0] > 0:
            kept[i] = np.nan  # which of two equals is nearer is nobody's business
        kept[i, order[neighbors:]] = 0
    return kept


def scores_are(
    make: Callable[[], ItemNeighbors], expected: np.ndarray, monkeypatch: pytest.MonkeyPatch, atol: float
) -> None:
    """A model fitted on `MET` scores all users and items as `expected[USERS, ITEMS]`, and lists of all items alike."""
    monkeypatch.setattr(_histories, "_BLOCK", 5)
    model = make()
    model.fit_interactions(*MET)
    user, item = torch.meshgrid(torch.arange(USERS), torch.arange(ITEMS), indexing="ij")
    found = model(torch.stack([user + 1, item + USERS + 2], -1))
    defined = ~np.isnan(expected)
    assert defined.mean() > 0.5
    np.testing.assert_allclose(found.numpy()[defined], expected[defined], rtol=1e-5, atol=atol)
    torch.testing.assert_close(model.catalog_scores(user[:, :1] + 1), found)
    assert not found[4].any()
    assert not found[:, 7].any()
