"""Rank metrics against scikit-learn and against their definitions."""

import numpy as np
import pytest
from fmlab_metrics.ranking import HR, MRR, NDCG
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

from fmlab.errors import DataError


@pytest.fixture
def lists() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores without ties, one relevant item a list, and its rank by sorting."""
    rng = np.random.default_rng(0)
    scores = rng.permuted(np.tile(np.arange(30.0), (200, 1)), axis=1)
    relevant = np.zeros_like(scores)
    relevant[np.arange(200), rng.integers(0, 30, 200)] = 1
    rank = np.array([list(np.argsort(-s)).index(r.argmax()) + 1 for s, r in zip(scores, relevant, strict=True)])
    return scores, relevant, rank


@pytest.mark.parametrize("k", [None, 1, 5, 10])
def test_ndcg_is_that_of_scikit_learn(lists, k: int | None) -> None:
    scores, relevant, rank = lists
    assert NDCG(k=k).of_ranks(rank).mean() == pytest.approx(ndcg_score(relevant, scores, k=k), abs=1e-12)


def test_mrr_is_the_average_precision_of_one_relevant_item(lists) -> None:
    scores, relevant, rank = lists
    assert MRR().of_ranks(rank).mean() == pytest.approx(label_ranking_average_precision_score(relevant, scores))


@pytest.mark.parametrize("k", [1, 3, 10])
def test_hr_counts_the_lists_with_the_item_among_the_first_k(lists, k: int) -> None:
    scores, relevant, rank = lists
    hits = [r[np.argsort(-s)[:k]].sum() for s, r in zip(scores, relevant, strict=True)]
    assert HR(k=k).of_ranks(rank).tolist() == hits


def test_values_by_hand() -> None:
    rank = np.array([1, 2, 3.5, 10, 10.5])
    assert HR(k=10).of_ranks(rank).tolist() == [1, 1, 1, 1, 0]
    assert MRR().of_ranks(rank).tolist() == [1, 1 / 2, 1 / 3.5, 1 / 10, 1 / 10.5]
    assert MRR(k=3).of_ranks(rank).tolist() == [1, 1 / 2, 0, 0, 0]
    assert NDCG(k=2).of_ranks(rank) == pytest.approx([1, 1 / np.log2(3), 0, 0, 0])


def test_names_tell_the_cut_off() -> None:
    assert [m.name for m in (HR(), HR(k=5), NDCG(), NDCG(k=10), MRR())] == ["hr@10", "hr@5", "ndcg", "ndcg@10", "mrr"]


@pytest.mark.parametrize("metric", [HR(), MRR(), NDCG(), NDCG(k=10)])
@pytest.mark.parametrize("rank", [np.nan, 0.5, -np.inf])
def test_an_impossible_rank_is_refused(metric, rank: float) -> None:
    with pytest.raises(DataError, match="1 of 2"):
        metric.of_ranks(np.array([1.0, rank]))
