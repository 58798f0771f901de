"""Figures of the first k items against plain loops, and against scikit-learn and SciPy where they have them."""

from itertools import combinations

import numpy as np
import pytest
from fmlab_metrics.beyond_accuracy import (
    Coverage,
    Diversity,
    Entropy,
    Gini,
    Novelty,
    Popularity,
    PopularityLift,
    Tail,
)
from scipy.stats import entropy as scipy_entropy

from fmlab.contracts import Ranks
from fmlab.errors import DataError

ITEMS, LISTS, K = 30, 200, 5
RANKS = Ranks(np.ones(LISTS), np.arange(LISTS + 1))


@pytest.fixture
def drawn() -> dict[str, np.ndarray]:
    """First items of lists, some of them short, and what the items are."""
    rng = np.random.default_rng(0)
    top = np.stack([rng.permutation(ITEMS)[:K] for _ in range(LISTS)])
    top[:20, 3:] = -1
    top[:5, 1:] = -1
    popularity = rng.geometric(0.05, ITEMS) - 1
    popularity[3] = 0
    attributes = rng.integers(-1, 4, (ITEMS, 3)).astype(np.int32)
    return {"top": top, "popularity": popularity, "attributes": attributes}


def rows(top: np.ndarray) -> list[list[int]]:
    return [[i for i in row if i >= 0] for row in top.tolist()]


def test_coverage_gini_and_entropy(drawn) -> None:
    top, popularity = drawn["top"], drawn["popularity"]
    flat = [i for row in rows(top) for i in row]
    shown = np.bincount(flat, minlength=ITEMS)
    given = {"top": top, "popularity": popularity}
    assert Coverage(k=K).of_lists(RANKS, **given) == len(set(flat)) / ITEMS
    pairs = sum(abs(int(a) - int(b)) for a in shown for b in shown)
    assert Gini(k=K).of_lists(RANKS, **given) == pytest.approx(pairs / (2 * ITEMS * shown.sum()), abs=1e-12)
    assert Entropy(k=K).of_lists(RANKS, **given) == pytest.approx(scipy_entropy(shown, base=2), abs=1e-12)
    same = np.tile(np.arange(K), (LISTS, 1))
    assert Gini(k=K).of_lists(RANKS, top=same, popularity=popularity) == pytest.approx(1 - K / ITEMS)


def test_popularity_novelty_lift_and_tail(drawn) -> None:
    top, popularity = drawn["top"], drawn["popularity"]
    history = np.linspace(1, 9, LISTS)
    mean = np.array([np.mean([popularity[i] for i in row]) for row in rows(top)])
    given = {"top": top, "popularity": popularity}
    assert Popularity(k=K).of_lists(RANKS, **given) == pytest.approx(mean)
    novel = [np.mean([-np.log2(max(1, popularity[i]) / 50) for i in row]) for row in rows(top)]
    assert Novelty(k=K).of_lists(RANKS, **given, n_users=50) == pytest.approx(np.array(novel))
    lift = PopularityLift(k=K).of_lists(RANKS, **given, history_popularity=history)
    assert lift == pytest.approx((mean - history) / history)
    head, total = set(), 0
    for i in sorted(range(ITEMS), key=lambda i: (-popularity[i], i)):
        if total >= 0.8 * popularity.sum():
            break
        head.add(i)
        total += popularity[i]
    tail = np.array([np.mean([i not in head for i in row]) for row in rows(top)])
    assert Tail(k=K).of_lists(RANKS, **given) == pytest.approx(tail)


@pytest.mark.parametrize("cells", [1, 1 << 22])
def test_diversity_is_the_mean_jaccard_distance_of_pairs(drawn, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmlab_metrics.beyond_accuracy._CELLS", cells)
    top, attributes = drawn["top"], drawn["attributes"]
    sets = [{a for a in row if a >= 0} for row in attributes.tolist()]
    slow = []
    for row in rows(top):
        pairs = [
            1 - (len(sets[a] & sets[b]) / len(sets[a] | sets[b]) if sets[a] | sets[b] else 0)
            for a, b in combinations(row, 2)
        ]
        slow.append(np.mean(pairs) if pairs else np.nan)
    found = Diversity(k=K).of_lists(RANKS, top=top, attributes=attributes)
    np.testing.assert_allclose(found, slow, atol=1e-12)
    with pytest.raises(DataError, match="item attributes"):
        Diversity(k=K).of_lists(RANKS, top=top, attributes=attributes[:, :0])
