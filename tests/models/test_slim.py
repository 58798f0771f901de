"""SLIM against scikit-learn's elastic net, the conditions of a minimum, and a loop over the scores."""

from typing import Any

import numpy as np
import pytest
import torch
from fmlab_models import slim
from fmlab_models.slim import SLIM, column, nonnegative
from scipy.optimize import nnls
from sklearn.linear_model import ElasticNet

from fmlab.data import Field, Schema
from fmlab.errors import FmlabError


def schema(users: int, items: int) -> Schema:
    return Schema((Field("user", "user", users + 1), Field("item", "item", items + 1)), users, items)


def fitted(x: np.ndarray, **options: Any) -> SLIM:
    """A model of a matrix of 0 and 1, some of whose pairs come twice, which must not count."""
    model = SLIM(schema(*x.shape), **options)
    model.fit_interactions(*(torch.tensor(np.concatenate([a, a[:5]])) for a in np.nonzero(x)))
    return model


@pytest.mark.parametrize(("l1", "l2"), [(0.1, 5.0), (1.0, 5.0), (3.0, 0.5), (2.5, 60.0), (1e6, 1.0)])
@pytest.mark.parametrize("shape", [(13, 19), (60, 90), (200, 40)])
def test_slim_is_the_elastic_net_of_every_item(
    shape: tuple[int, int], l1: float, l2: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slim, "_FIRST", 4)  # several rounds of new items
    rng = np.random.default_rng(sum(shape))
    x = (rng.random(shape) < 0.1 + 0.4 * rng.random(shape[1])).astype(float)
    x[4], x[:, 7] = 0, 0
    n = len(x)
    peer = ElasticNet(
        alpha=(l1 + l2) / n, l1_ratio=l1 / (l1 + l2), fit_intercept=False, positive=True, tol=1e-12, max_iter=10**5
    )
    found = fitted(x, l1=l1, l2=l2)
    assert not found.weight[0].any()
    some = range(0, x.shape[1], 3)
    weights = np.zeros((len(some), x.shape[1]))
    for row, j in enumerate(some):
        others = np.arange(x.shape[1]) != j
        weights[row, others] = peer.fit(x[:, others], x[:, j]).coef_
    np.testing.assert_allclose(found.weight[1:].numpy()[list(some)], weights, atol=2e-6)
    assert (weights.max() > 0.01) == (l1 < 1e6)
    ids = torch.stack(torch.meshgrid(torch.arange(n) + 1, torch.tensor(some) + n + 2, indexing="ij"), -1)
    np.testing.assert_allclose(found(ids).numpy(), x @ weights.T, atol=1e-5)


def test_a_column_keeps_the_conditions_of_a_minimum() -> None:
    """Karush, Kuhn and Tucker: no slope at a weight above 0, none upwards at 0."""
    rng = np.random.default_rng(0)
    x = (rng.random((400, 300)) < 0.05 + 0.3 * rng.random(300) ** 3).astype(np.float32)
    counts = x.T @ x
    for j in range(0, 300, 29):
        held, weights = column(counts, j, 2.0, 3.0)
        assert len(held) > 10
        assert weights.min() > 0
        w = np.zeros(300)
        w[held] = weights
        slope = counts[j].astype(float) - 2.0 - counts.astype(float) @ w - 3.0 * w
        slope[j] = -1.0
        np.testing.assert_allclose(slope[held], 0, atol=1e-8)
        assert slope.max() < 1e-8


@pytest.mark.parametrize("tries", [3, 0])
def test_nonnegative_least_squares_is_that_of_scipy(tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slim, "_TRIES", tries)
    rng = np.random.default_rng(1)
    for n in (1, 2, 7, 40):
        for _ in range(10):
            a, b = rng.normal(size=(n + 5, n)), rng.normal(size=n + 5)
            np.testing.assert_allclose(nonnegative(a.T @ a, a.T @ b, 1e-12), nnls(a, b)[0], atol=1e-9)


def test_nobody_alike_and_nothing_known_score_0() -> None:
    x = np.eye(6)
    model = fitted(x, l1=0.0)
    assert not model.weight.any()
    model = fitted(np.ones((4, 3)), l1=0.5, l2=1.0)
    assert model.weight[1:].count_nonzero() == 6
    assert model(torch.tensor([[0, 5 + 1], [1, 5]])).tolist() == [0, 0]  # the unknown user, the unknown item


def test_more_items_than_fit_are_refused() -> None:
    with pytest.raises(FmlabError, match="at most 35,000, got 40,000"):
        SLIM(schema(2, 40_000))
