"""Score metrics against scikit-learn, brute force and high precision."""

import mpmath
import numpy as np
import pytest
from fmlab_metrics.auc import AUC
from fmlab_metrics.classification import LogLoss
from fmlab_metrics.regression import MAE, RMSE
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, mean_absolute_error, mean_squared_error, roc_auc_score

from fmlab.errors import DataError


def rows(seed: int, n: int = 500, levels: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties, and labels that depend on them a little."""
    rng = np.random.default_rng(seed)
    score = rng.integers(0, levels, n) / 8 - 2.5
    return score, (rng.random(n) < 1 / (1 + np.exp(-score / 2))).astype(float)


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_that_of_scikit_learn_with_ties(seed: int) -> None:
    score, label = rows(seed)
    value, units = AUC().of_scores(score, label)
    assert value == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert AUC().of_scores(score, 2 * label - 1)[0] == value
    assert units is not None
    assert units.mean(dtype=float) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_what_rows_contribute_to_auc_is_what_leaving_them_out_takes_away(seed: int) -> None:
    score, label = rows(seed, 200)
    value, units = AUC().of_scores(score, label)
    assert units is not None
    rest = np.ones(200, bool)
    for row in range(200):
        rest[row] = False
        left = AUC().of_scores(score[rest], label[rest])[0]
        assert 199 * (value - left) == pytest.approx(units[row] - value, rel=0.05, abs=1e-4)
        rest[row] = True


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_auc_is_the_share_of_pairs_in_order(pairs: list[tuple[int, bool]]) -> None:
    score, label = np.array(pairs, float).T
    positive, negative = score[label == 1], score[label == 0]
    if not len(positive) or not len(negative):
        with pytest.raises(DataError, match="undefined on one class"):
            AUC().of_scores(score, label)
        return
    wins = np.sign(positive[:, None] - negative[None, :]) / 2 + 0.5
    assert AUC().of_scores(score, label)[0] == pytest.approx(wins.mean(), abs=1e-12)


def test_a_constant_score_has_an_auc_of_one_half() -> None:
    assert AUC().of_scores(np.zeros(7), np.array([1, 0, 0, 0, 0, 0, 1.0]))[0] == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_logloss_is_that_of_scikit_learn(seed: int) -> None:
    score, label = rows(seed)
    value, units = LogLoss().of_scores(score, label)
    assert value == pytest.approx(log_loss(label, 1 / (1 + np.exp(-score))), rel=1e-12)
    assert units is not None
    assert units.mean() == pytest.approx(value)


@pytest.mark.parametrize("score", [-800.0, -40.0, -1e-9, 0.0, 3.0, 40.0, 800.0])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_logloss_keeps_its_precision_at_extreme_scores(score: float, label: float) -> None:
    with mpmath.workdps(50):
        exact = mpmath.log(1 + mpmath.exp(-score if label else score))
    assert LogLoss().of_scores(np.array([score]), np.array([label]))[0] == pytest.approx(float(exact), rel=1e-13)


def test_errors_are_those_of_scikit_learn() -> None:
    score, label = rows(0)
    assert RMSE().of_scores(score, label)[0] == pytest.approx(mean_squared_error(label, score) ** 0.5)
    assert MAE().of_scores(score, label)[0] == pytest.approx(mean_absolute_error(label, score))


def test_row_contributions_average_to_the_value() -> None:
    score, label = rows(1)
    value, squared = RMSE().of_scores(score, label)
    absolute = MAE().of_scores(score, label)
    assert np.sqrt(squared.mean()) == pytest.approx(value)
    assert absolute[1].mean() == pytest.approx(absolute[0])


@pytest.mark.parametrize("metric", [AUC(), LogLoss(), RMSE(), MAE()])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(metric, bad: float) -> None:
    with pytest.raises(DataError, match="1 of 3"):
        metric.of_scores(np.array([0.1, bad, 0.3]), np.array([0.0, 1.0, 1.0]))


@pytest.mark.parametrize("metric", [AUC(), LogLoss()])
def test_labels_that_are_not_classes_are_named(metric) -> None:
    with pytest.raises(DataError, match="1, 3, 5"):
        metric.of_scores(np.zeros(3), np.array([1.0, 3.0, 5.0]))
    with pytest.raises(DataError, match="nan"):
        metric.of_scores(np.zeros(2), np.array([1.0, np.nan]))


@pytest.mark.parametrize("metric", [LogLoss(), RMSE(), MAE()])
def test_no_rows_is_an_error_not_a_number(metric) -> None:
    with pytest.raises(DataError, match="none"):
        metric.of_scores(np.zeros(0), np.zeros(0))
