"""Selection and calibration against exhaustive search and scikit-learn; kept scores are found or refused."""

from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from fmlab.automl.scores import drop_losers, keep_scores, kept_bytes, read_scores
from fmlab.automl.selection import calibrated, greedy, loss_of
from fmlab.errors import StorageError

RNG = np.random.default_rng(0)
TRUTH = RNG.normal(size=3000) * 2
LABEL = (RNG.random(3000) < expit(TRUTH)).astype(np.float32)
SCORES = np.stack([TRUTH + RNG.normal(size=3000) * s for s in (1.0, 1.2, 1.5, 4.0)]).astype(np.float32)


def loss(weights: np.ndarray) -> float:
    return log_loss(LABEL, expit(weights @ SCORES))


def test_the_chosen_weights_are_nearly_those_of_exhaustive_search() -> None:
    """Of all multisets of up to six members, greedy selection of six comes within a thousandth of the best."""
    weights = greedy(SCORES, LABEL, log_odds=True, rounds=6)
    assert weights.sum() == pytest.approx(1)
    every = [np.bincount(c, minlength=4) / k for k in range(1, 7) for c in combinations_with_replacement(range(4), k)]
    assert loss(weights) <= min(map(loss, every)) + 1e-3
    assert loss(weights) < min(loss(one) for one in np.eye(4))
    assert weights[3] == 0, "a model of noise takes no part"


def test_squared_errors_count_where_labels_are_no_classes() -> None:
    label = TRUTH.astype(np.float32)
    weights = greedy(SCORES, label, log_odds=False)
    inverse = 1 / np.square([1.0, 1.2, 1.5, 4.0])  # the best weights of independent errors
    np.testing.assert_allclose(weights, inverse / inverse.sum(), atol=0.05)


def test_the_calibration_is_a_logistic_regression_on_the_score() -> None:
    score = 3 * TRUTH - 1
    scale, bias = calibrated(score, LABEL)
    other = LogisticRegression(C=np.inf, tol=1e-10).fit(score[:, None], LABEL)
    assert (scale, bias) == pytest.approx((other.coef_[0, 0], other.intercept_[0]), rel=1e-3)
    assert loss_of(scale * score + bias, LABEL, log_odds=True).mean() < loss_of(score, LABEL, log_odds=True).mean()
    assert calibrated(score[:100], LABEL[:100]) == (1.0, 0.0)


def test_scores_are_kept_once_and_damage_is_seen(tmp_path: Path) -> None:
    name = keep_scores(tmp_path, SCORES[0])
    assert keep_scores(tmp_path, SCORES[0]) == name
    assert kept_bytes(tmp_path) == 4 * 3000
    np.testing.assert_array_equal(read_scores(tmp_path, name), SCORES[0])
    assert read_scores(tmp_path, "0" * 64) is None
    with pytest.raises(StorageError, match="sha256"):
        read_scores(tmp_path, "../../etc/passwd")
    (tmp_path / "scores" / f"{name}.f4").write_bytes(b"other")
    with pytest.raises(StorageError, match="damaged"):
        read_scores(tmp_path, name)


def test_the_oldest_losers_are_dropped_and_the_better_half_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [keep_scores(tmp_path, row) for row in SCORES]
    with caplog.at_level("INFO"):
        assert drop_losers(tmp_path, names, 3 * 4 * 3000) == 1
    assert "1 trials are dropped" in caplog.text
    kept = [read_scores(tmp_path, name) is not None for name in names]
    assert kept == [True, True, False, True], "the third was written before the fourth"
    assert drop_losers(tmp_path, names, 0) == 1
    assert [read_scores(tmp_path, name) is not None for name in names[:2]] == [True, True]
