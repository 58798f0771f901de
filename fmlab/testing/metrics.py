"""What every metric must do."""

import numpy as np
import pytest

from fmlab.contracts import RankMetric, ScoreMetric


class MetricContract:
    """Subclass it and write `make`. Which tests run depends on the protocol that the metric follows."""

    def make(self) -> RankMetric | ScoreMetric:
        """Your metric."""
        raise NotImplementedError

    def _of_ranks(self) -> RankMetric:
        metric = self.make()
        if not isinstance(metric, RankMetric):
            pytest.skip("not a metric of ranks")
        return metric

    def _of_scores(self) -> ScoreMetric:
        metric = self.make()
        if not isinstance(metric, ScoreMetric):
            pytest.skip("not a metric of scores")
        return metric

    def test_it_says_what_it_is(self) -> None:
        """It has a name and a direction, and is of one kind."""
        metric = self.make()
        assert metric.name
        assert isinstance(metric.maximize, bool)
        assert isinstance(metric, RankMetric) != isinstance(metric, ScoreMetric)

    def test_a_better_rank_is_never_worse(self) -> None:
        """Also for the fractional ranks of ties; the value of a list does not depend on the others."""
        metric, rank = self._of_ranks(), np.arange(1, 60, 0.5)
        value = metric.of_ranks(rank)
        assert value.shape == rank.shape
        assert np.isfinite(value).all()
        steps = np.diff(value) if metric.maximize else -np.diff(value)
        assert (steps <= 0).all()
        assert value[0] != value[-1]
        np.testing.assert_array_equal(metric.of_ranks(rank[::-1]), value[::-1])

    def test_right_scores_beat_wrong_ones(self) -> None:
        """Scores that follow the labels against their opposite."""
        metric, label = self._of_scores(), np.array([0, 1, 1, 0, 1, 0], np.float32)
        right, wrong = (metric.of_scores(sign * (2 * label - 1), label)[0] for sign in (1, -1))
        assert right > wrong if metric.maximize else right < wrong

    def test_contributions_belong_to_rows(self) -> None:
        """One a row, or none; they give the figure; the order of rows does not matter; arguments are left alone."""
        metric, rng = self._of_scores(), np.random.default_rng(0)
        score, label = rng.normal(size=20), (np.arange(20) % 2).astype(np.float32)
        kept = score.copy(), label.copy()
        value, rows = metric.of_scores(score, label)
        assert np.isfinite(value)
        if rows is not None:
            assert rows.shape == score.shape
            of_mean = getattr(metric, "of_mean", lambda mean: mean)
            assert float(of_mean(np.asarray(rows.mean(dtype=np.float64)))) == pytest.approx(value, rel=1e-5, abs=1e-7)
        assert metric.of_scores(score[::-1], label[::-1])[0] == pytest.approx(value)
        np.testing.assert_array_equal(score, kept[0])
        np.testing.assert_array_equal(label, kept[1])
