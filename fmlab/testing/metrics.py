"""What every metric must do."""

import numpy as np
import pytest

from fmlab.contracts import ListMetric, RankMetric, Ranks, ScoreMetric
from fmlab.contracts.metric import row_views, value_on_rows
from fmlab.evaluation.list_metrics import Lists, TrainedItems, view, views_of


class MetricContract:
    """Subclass it and write `make`. Which tests run depends on the protocol that the metric follows."""

    def make(self) -> ListMetric | RankMetric | ScoreMetric:
        """Your metric."""
        raise NotImplementedError

    def _of_lists(self) -> ListMetric:
        metric = self.make()
        if not isinstance(metric, ListMetric):
            pytest.skip("not a metric of lists")
        return metric

    def _of_ranks(self) -> RankMetric:
        metric = self.make()
        if not isinstance(metric, RankMetric):
            pytest.skip("not a metric of the older form")
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
        assert sum(isinstance(metric, kind) for kind in (ListMetric, RankMetric, ScoreMetric)) == 1

    def test_its_value_of_a_list_does_not_depend_on_the_others(self) -> None:
        """Lists in another order have the same values; none is infinite; arguments are left alone."""
        metric, lists = self._of_lists(), _lists(np.arange(40))
        kept = lists.ranks.rank.copy()
        value = _value(metric, lists)
        assert not np.isinf(value).any()
        np.testing.assert_array_equal(lists.ranks.rank, kept)
        if np.ndim(value):
            assert np.shape(value) == (40,)
            np.testing.assert_allclose(_value(metric, _lists(np.arange(40)[::-1])), value[::-1], rtol=1e-12)

    def test_better_ranks_are_never_worse(self) -> None:
        """Where it looks at ranks alone: all relevant items first, one by one further down."""
        metric = self._of_lists()
        if set(views_of(metric)) - {"candidates", "gains", "item", "user"}:
            pytest.skip("it looks at more than ranks")
        moved = [np.sort(np.r_[1 + shift, 2 + shift * 2, 3 + shift * 3]) for shift in np.arange(0, 12, 0.5)]
        begin = np.arange(0, 3 * len(moved) + 1, 3)
        n = len(moved)
        ranks = Ranks(np.concatenate(moved), begin)
        ones = np.ones(len(ranks.rank))
        value = _value(metric, Lists(ranks, np.arange(n), np.full(n, 50), ones.astype(np.int64), ones))
        steps = np.diff(value) if metric.maximize else -np.diff(value)
        assert (steps <= 1e-12).all()
        assert value[0] != value[-1]

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
        group = np.array([0, 0, 0, 1, 1, 1])
        if hasattr(metric, "best"):
            pytest.skip("neither higher nor lower is better")
        right, wrong = (value_on_rows(metric, sign * (2 * label - 1), label, group=group)[0] for sign in (1, -1))
        assert right > wrong if metric.maximize else right < wrong

    def test_contributions_belong_to_rows(self) -> None:
        """One a row, or none; they give the figure; the order of rows does not matter; arguments are left alone."""
        metric, rng = self._of_scores(), np.random.default_rng(0)
        score, label, group = rng.normal(size=20), (np.arange(20) % 2).astype(np.float32), np.arange(20) // 7
        for weight in (None, rng.integers(0, 4, 20) + 0.5) if "weight" in row_views(metric) else (None,):
            kept = score.copy(), label.copy()
            value, rows = value_on_rows(metric, score, label, weight, group)
            assert np.isfinite(value)
            if rows is not None:
                assert rows.shape == score.shape
                of_mean = getattr(metric, "of_mean", lambda mean: mean)
                mean = float(of_mean(np.asarray(rows.mean(dtype=np.float64))))
                assert mean == pytest.approx(value, rel=1e-5, abs=1e-7)
            back = score[::-1], label[::-1], None if weight is None else weight[::-1], group[::-1]
            assert value_on_rows(metric, *back)[0] == pytest.approx(value)
            np.testing.assert_array_equal(score, kept[0])
            np.testing.assert_array_equal(label, kept[1])

    def test_a_row_of_weight_two_is_a_row_that_stands_twice(self) -> None:
        """Where it names weights; one of weight 0 is not there, weights of one size change nothing."""
        metric, rng = self._of_scores(), np.random.default_rng(1)
        if "weight" not in row_views(metric):
            pytest.skip("it names no weight")
        score, label = rng.integers(0, 9, 30) / 4 - 1, (np.arange(30) % 2).astype(np.float32)
        group, times = np.arange(30) // 10, rng.integers(0, 3, 30)
        weighted = value_on_rows(metric, score, label, times.astype(np.float64), group)[0]
        twice = [np.repeat(array, times) for array in (score, label, group)]
        repeated = value_on_rows(metric, twice[0], twice[1], group=twice[2])[0]
        assert weighted == pytest.approx(repeated, rel=1e-9)
        plain = value_on_rows(metric, score, label, group=group)[0]
        assert value_on_rows(metric, score, label, np.full(30, 2.5), group)[0] == pytest.approx(plain, rel=1e-9)


_TRAINED = TrainedItems(np.arange(60) + 1, np.linspace(1, 60, 40), 40)
_ATTRIBUTES = np.stack([np.arange(60) % 4, 10 + np.arange(60) % 7], 1)


def _lists(order: np.ndarray) -> Lists:
    """40 random lists of 60 items, in an order."""
    rng = np.random.default_rng(0)
    ranks = [np.sort(rng.choice(60, rng.integers(1, 6), replace=False)) + 1.0 for _ in range(40)]
    top, gains = rng.permuted(np.tile(np.arange(60), (40, 1)), axis=1), [rng.integers(1, 6, len(r)) for r in ranks]
    begin = np.r_[0, np.cumsum([len(ranks[n]) for n in order])]
    view = Ranks(np.concatenate([ranks[n] for n in order]), begin)
    gained = np.concatenate([gains[n] for n in order]).astype(np.float64)
    return Lists(view, order, np.full(40, 60), view.rank.astype(np.int64) - 1, gained, top[order])


def _value(metric: ListMetric, lists: Lists) -> np.ndarray:
    views = {name: view(name, metric, lists, _TRAINED, _ATTRIBUTES) for name in views_of(metric)}
    return np.asarray(metric.of_lists(lists.ranks, **views))
