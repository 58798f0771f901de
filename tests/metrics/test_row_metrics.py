"""Figures of scored rows against scikit-learn and against their definitions in plain loops: 1,000 cases with ties."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fmlab_metrics.auc import AUC, GAUC, PRAUC
from fmlab_metrics.calibration_error import COPC, ECE, NE, Brier
from fmlab_metrics.classification import F1, Accuracy, LogLoss
from fmlab_metrics.regression import MAE, RMSE
from sklearn import metrics as sk

from fmlab.contracts.metric import value_on_rows
from fmlab.errors import DataError

Case = tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]


def case(seed: int) -> Case:
    """Few scores, both classes, every second case with weights, of which some are 0."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 60))
    score = rng.integers(-6, 7, n) / 3
    label = (rng.random(n) < 1 / (1 + np.exp(-score))).astype(float)
    label[:2] = 0, 1
    weight = None if seed % 2 else rng.integers(0, 4, n) * rng.random(n)
    if weight is not None:
        weight[:2] = 1
    return score, label, weight, rng.integers(0, 5, n)


def p_of(score: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-score))


def gauc(s: np.ndarray, y: np.ndarray, w: np.ndarray, g: np.ndarray, by: str) -> float:
    above = below = 0.0
    for group in set(g.tolist()):
        rows = [r for r in range(len(s)) if g[r] == group]
        pos, neg = [r for r in rows if y[r] == 1 and w[r]], [r for r in rows if y[r] == 0 and w[r]]
        if not pos or not neg:
            continue
        pairs = sum(w[a] * w[b] * (1.0 if s[a] > s[b] else 0.5 if s[a] == s[b] else 0.0) for a in pos for b in neg)
        auc = pairs / (sum(w[pos]) * sum(w[neg]))
        size = sum(w[pos]) if by == "positives" else sum(w[rows])
        above, below = above + size * auc, below + size
    return above / below


def ece(s: np.ndarray, y: np.ndarray, w: np.ndarray, bins: int) -> float:
    total = sum(w)
    inside: dict[int, list[float]] = {}
    for level in sorted(set(s.tolist())):
        rows = [r for r in range(len(s)) if s[r] == level]
        before, size = sum(w[r] for r in range(len(s)) if s[r] < level), sum(w[rows])
        bin_ = min(int(bins * (before + size / 2) / total), bins - 1)
        held = inside.setdefault(bin_, [0.0, 0.0])
        for r in rows:
            held[0] += w[r] * y[r]
            held[1] += w[r] / (1 + math.exp(-s[r]))
    return sum(abs(a - b) for a, b in inside.values()) / total


def ne(s: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    base = sum(w * y) / sum(w)
    loss = sum(w[r] * math.log1p(math.exp(-s[r] if y[r] else s[r])) for r in range(len(s)))
    return loss / sum(w[r] * -math.log(base if y[r] else 1 - base) for r in range(len(s)))


ORACLES: dict[str, tuple[Any, Callable[..., float]]] = {
    "auc": (AUC(), lambda s, y, w, g: sk.roc_auc_score(y, s, sample_weight=w)),
    "pr_auc": (PRAUC(), lambda s, y, w, g: sk.average_precision_score(y, s, sample_weight=w)),
    "logloss": (LogLoss(), lambda s, y, w, g: sk.log_loss(y, p_of(s), sample_weight=w)),
    "rmse": (RMSE(), lambda s, y, w, g: sk.root_mean_squared_error(y, s, sample_weight=w)),
    "mae": (MAE(), lambda s, y, w, g: sk.mean_absolute_error(y, s, sample_weight=w)),
    "accuracy": (Accuracy(), lambda s, y, w, g: sk.accuracy_score(y, s > 0, sample_weight=w)),
    "accuracy .3": (
        Accuracy(threshold=0.3),
        lambda s, y, w, g: sk.accuracy_score(y, p_of(s) > 0.3, sample_weight=w),
    ),
    "f1": (F1(), lambda s, y, w, g: sk.f1_score(y, s > 0, sample_weight=w, zero_division=0)),
    "brier": (Brier(), lambda s, y, w, g: sk.brier_score_loss(y, p_of(s), sample_weight=w)),
    "ne": (NE(), lambda s, y, w, g: ne(s, y, w)),
    "copc": (COPC(), lambda s, y, w, g: sum(w * y) / sum(w * p_of(s))),
    "ece": (ECE(), lambda s, y, w, g: ece(s, y, w, 15)),
    "ece 4": (ECE(bins=4), lambda s, y, w, g: ece(s, y, w, 4)),
    "gauc": (GAUC(), lambda s, y, w, g: gauc(s, y, w, g, "rows")),
    "gauc of positives": (GAUC(weighting="positives"), lambda s, y, w, g: gauc(s, y, w, g, "positives")),
}


@pytest.mark.parametrize("name", ORACLES)
def test_figures_are_those_of_the_oracle_on_1000_cases(name: str) -> None:
    metric, oracle = ORACLES[name]
    for seed in range(1000):
        score, label, weight, group = case(seed)
        try:
            found, rows = value_on_rows(metric, score, label, weight, group)
        except DataError:
            assert name.startswith("gauc")  # every group of one class
            continue
        expected = oracle(score, label, np.ones(len(score)) if weight is None else weight, group)
        assert found == pytest.approx(expected, abs=1e-9), (name, seed)
        if rows is not None:
            mean = getattr(metric, "of_mean", lambda m: m)(rows.mean(dtype=np.float64))
            assert mean == pytest.approx(found, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("name", ["auc", "ne", "copc", "f1", "gauc", "logloss"])
@pytest.mark.parametrize("weighted", [False, True])
def test_contributions_are_right_to_first_order(name: str, weighted: bool) -> None:
    """Leaving out a tenth of the groups moves the figure as the mean of the contributions that are left."""
    metric, rng = ORACLES[name][0], np.random.default_rng(0)
    n = 40_000
    score, group = rng.normal(size=n), rng.integers(0, 400, n)
    label, weight = (rng.random(n) < p_of(score + 0.3)).astype(float), rng.random(n) if weighted else None
    value, rows = value_on_rows(metric, score, label, weight, group)
    left = group >= 40
    shown = value_on_rows(metric, score[left], label[left], None if weight is None else weight[left], group[left])[0]
    assert rows is not None
    assert rows[left].mean(dtype=float) - value == pytest.approx(shown - value, rel=0.15, abs=3e-5)


def test_groups_of_one_class_are_left_out_and_counted() -> None:
    score, label = np.array([1.0, 0, 0, 1, 3, 2]), np.array([1.0, 0, 1, 0, 1, 1])
    group = np.array([7, 7, 9, 9, 4, 4])
    assert GAUC().of_scores(score, label, group=group)[0] == 0.5
    assert GAUC().details(score, label, group=group) == {"groups": 2, "groups_of_one_class": 1}
    with pytest.raises(DataError, match="each of the 1 groups has rows of one class"):
        GAUC().of_scores(score[4:], label[4:], group=group[4:])


def test_the_reliability_curve_is_that_of_the_bins() -> None:
    score, label = np.repeat([-2.0, 0.0, 2.0], 100), np.tile([0.0, 1, 1, 0], 75)
    curve = ECE(bins=3).details(score, label)["curve"]
    assert [c["rows"] for c in curve] == [100, 100, 100]
    np.testing.assert_allclose([c["probability"] for c in curve], p_of(np.array([-2.0, 0, 2])))
    np.testing.assert_allclose([c["label"] for c in curve], 0.5)


@pytest.mark.parametrize("metric", [NE(), Brier(), COPC(), ECE()])
def test_labels_of_probabilities_are_0_and_1(metric: Any) -> None:
    with pytest.raises(DataError, match="needs labels 0 and 1, got -1, 1"):
        metric.of_scores(np.zeros(2), np.array([-1.0, 1]))
