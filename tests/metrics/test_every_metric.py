"""No metric and no option of one is without an oracle; figures of first items on 1,000 cases against plain loops."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fmlab_metrics import beyond_accuracy as first
from fmlab_metrics.classification import F1
from sklearn.metrics import f1_score

from fmlab.contracts import Ranks
from fmlab.plugin import inventory, registry

# What the files of this folder compare with trec_eval, scikit-learn, SciPy or a loop, by option.
TESTED: dict[str, set[str]] = {
    **{name: {"k"} for name in ("hr", "hit", "mrr", "precision", "coverage", "gini", "entropy", "novelty")},
    **{name: {"k"} for name in ("popularity", "popularity_lift", "diversity")},
    "recall": {"k", "denominator"},
    "map": {"k", "denominator"},
    "ndcg": {"k", "gains"},
    "tail": {"k", "head"},
    "f1": {"k", "threshold"},
    "accuracy": {"threshold"},
    "gauc": {"weighting"},
    "ece": {"bins"},
    **{name: set() for name in ("auc", "r_precision", "logloss", "rmse", "mae", "pr_auc", "ne", "copc", "brier")},
}


def test_every_metric_and_every_option_has_an_oracle() -> None:
    found: dict[str, set[str]] = {}
    for plugin in inventory.describe("metric"):
        if registry.package(registry.find("metric", plugin.name)) == "fmlab":
            found.setdefault(plugin.name, set()).update(o.name for o in registry.schema("metric", plugin.name).options)
    known = {name: options & TESTED.get(name.removeprefix("list_"), set()) for name, options in found.items()}
    assert found == known, "add an oracle, then the option here"


def lists(seed: int) -> dict[str, Any]:
    """First items of lists, some short, with popularities that repeat."""
    rng = np.random.default_rng(seed)
    n, k, count = int(rng.integers(6, 20)), int(rng.integers(1, 6)), int(rng.integers(1, 12))
    top = np.stack([rng.permutation(n)[:k] for _ in range(count)])
    for row in top:
        row[int(rng.integers(1, k + 1)) :] = -1
    return {
        "top": top,
        "popularity": rng.integers(0, 5, n),
        "n_users": int(rng.integers(5, 50)),
        "history_popularity": rng.integers(1, 9, count) / 2,
        "attributes": rng.integers(-1, 4, (n, 2)).astype(np.int32),
        "head": float(rng.choice([0.2, 0.5, 0.8])),
    }


def of(top: np.ndarray) -> list[list[int]]:
    return [[i for i in row if i >= 0] for row in top.tolist()]


def shown(c: dict[str, Any]) -> list[int]:
    flat = [i for row in of(c["top"]) for i in row]
    return [flat.count(i) for i in range(len(c["popularity"]))]


def gini(c: dict[str, Any]) -> float:
    counts = shown(c)
    return sum(abs(a - b) for a in counts for b in counts) / (2 * len(counts) * sum(counts))


def entropy(c: dict[str, Any]) -> float:
    total = sum(shown(c))
    return -sum(n / total * math.log2(n / total) for n in shown(c) if n)


def tail(c: dict[str, Any]) -> list[float]:
    popularity, head, held = c["popularity"].tolist(), set(), 0
    for i in sorted(range(len(popularity)), key=lambda i: (-popularity[i], i)):
        if held < c["head"] * sum(popularity):
            head.add(i)
        held += popularity[i]
    return [sum(i not in head for i in row) / len(row) for row in of(c["top"])]


def diversity(c: dict[str, Any]) -> list[float]:
    sets = [{a for a in row if a >= 0} for row in c["attributes"].tolist()]
    out = []
    for row in of(c["top"]):
        pairs = [(sets[a], sets[b]) for n, a in enumerate(row) for b in row[:n]]
        apart = [1 - (len(a & b) / len(a | b) if a | b else 0) for a, b in pairs]
        out.append(sum(apart) / len(apart) if apart else math.nan)
    return out


def means(value: Callable[[dict[str, Any], int], float]) -> Callable[[dict[str, Any]], list[float]]:
    return lambda c: [sum(value(c, i) for i in row) / len(row) for row in of(c["top"])]


popularity = means(lambda c, i: float(c["popularity"][i]))
ORACLES: dict[str, tuple[Any, Callable[[dict[str, Any]], Any]]] = {
    "coverage": (first.Coverage, lambda c: sum(n > 0 for n in shown(c)) / len(c["popularity"])),
    "gini": (first.Gini, gini),
    "entropy": (first.Entropy, entropy),
    "novelty": (first.Novelty, means(lambda c, i: -math.log2(max(1, c["popularity"][i]) / c["n_users"]))),
    "popularity": (first.Popularity, popularity),
    "popularity_lift": (first.PopularityLift, lambda c: popularity(c) / c["history_popularity"] - 1),
    "tail": (first.Tail, tail),
    "diversity": (first.Diversity, diversity),
}


@pytest.mark.parametrize("name", ORACLES)
def test_figures_of_first_items_are_those_of_loops_on_1000_cases(name: str) -> None:
    kind, oracle = ORACLES[name]
    for seed in range(1000):
        c = lists(seed)
        k = c["top"].shape[1]
        metric = kind(k=k, head=c["head"]) if name == "tail" else kind(k=k)
        wanted = {n: c[n] for n in inspect.signature(metric.of_lists).parameters if n in c}
        found = metric.of_lists(Ranks(np.ones(len(c["top"])), np.arange(len(c["top"]) + 1)), **wanted)
        np.testing.assert_allclose(found, oracle(c), rtol=0, atol=1e-9, err_msg=f"{name} {seed}")


def test_the_threshold_of_f1_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(1000):
        score, label = rng.integers(-6, 7, 20) / 3, rng.integers(0, 2, 20).astype(float)
        label[:2] = 0, 1
        threshold = float(rng.choice([0.2, 0.45, 0.9]))
        theirs = f1_score(label, 1 / (1 + np.exp(-score)) > threshold, zero_division=0)
        assert F1(threshold=threshold).of_scores(score, label)[0] == pytest.approx(theirs, abs=1e-9)
