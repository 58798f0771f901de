"""Tests over seeds and cases: against SciPy, against the plain bootstrap, and in tables whose truth is known."""

import math

import numpy as np
import pytest
from fmlab_metrics.auc import AUC
from fmlab_metrics.regression import RMSE
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from fmlab.errors import DataError
from fmlab.report import significance
from fmlab.report.significance import Groups, SeedScores, chance_of, compare, holm, pair_p_values

# docs/results/frappe-ctr.md: deviation of the log loss over seeds, and the mean, of each of its 14 recipes.
DEVIATIONS = (36, 82, 25, 28, 39, 77, 82, 46, 36, 424, 165, 131, 31, 33)  # in units of 0.0001
MEANS = (1382, 1393, 1402, 1567, 1728, 1846, 1976, 2035, 1823, 2686, 2778, 2374, 2128, 2927)
OF_CASES = (10, 24)  # standard errors by test cases of differences there, that of close recipes and of far ones


def one(values: np.ndarray, of_mean=lambda mean: mean) -> SeedScores:
    """One run whose cases are groups of their own."""
    return SeedScores(np.array([float(of_mean(values.mean()))]), values[None])


def table(rng, means, deviations, seeds, of_cases, groups=60, mixed=0.5) -> list[SeedScores]:
    """Rows of a leaderboard, x[run, case] = mean + seed + case + case of the recipe + case of the run.

    A difference's noise by cases has the standard error `of_cases`; `mixed`: the share of it that training adds.
    """
    rows, shared = [], rng.normal(0, 20 * of_cases, groups)
    for mean, deviation in zip(means, deviations, strict=True):
        own = rng.normal(0, of_cases * math.sqrt(groups / 2 * (1 - mixed)), groups)
        trained = rng.normal(0, of_cases * math.sqrt(groups / 2 * mixed * seeds), (seeds, groups))
        figures = mean + rng.normal(0, math.sqrt(max(deviation**2 - trained.var() / groups, 0)), (seeds, 1))
        x = figures + shared + own + trained
        rows.append(SeedScores(x.mean(1), x))
    return rows


def starred(rng, tables, *args, **options) -> float:
    """Share of tables with any star."""
    found = 0
    for _ in range(tables):
        rows = table(rng, *args, **options)
        found += bool(np.nanmin(pair_p_values(rows, np.ones(rows[0].sums.shape[1]))) < 0.05)
    return found / tables


@pytest.mark.parametrize("of_cases", OF_CASES)
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_of_two_equal_recipes_at_most_one_in_twenty_has_a_star(seeds: int, of_cases: float) -> None:
    rng = np.random.default_rng(seeds)
    shares = [starred(rng, 60, (0, 0), (deviation, deviation), seeds, of_cases) for deviation in DEVIATIONS]
    assert np.mean(shares) <= 0.05


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("deviations", [DEVIATIONS, (36,) * 14])
def test_of_tables_of_equal_figures_at_most_one_in_twenty_has_a_star(seeds: int, deviations: tuple[int, ...]) -> None:
    assert starred(np.random.default_rng(seeds), 120, (0,) * 14, deviations, seeds, OF_CASES[0]) <= 0.05


def test_five_seeds_find_what_is_twice_the_noise_of_a_difference() -> None:
    """Noise: the deviation of the difference of two single runs, sqrt(2) times that of one."""
    for deviation in (36, 82, 165):
        means = 0, 2 * math.sqrt(2) * deviation
        assert starred(np.random.default_rng(0), 200, means, (deviation,) * 2, 5, OF_CASES[0]) >= 0.8


def test_five_seeds_find_twice_a_runs_deviation_nearly_as_often_as_any_test_can() -> None:
    """Student's test, the best without knowledge of the deviation, does it in 79 % of cases; test cases add noise."""
    freedom, shift = 8, 2 * math.sqrt(5 / 2)
    best = stats.nct.sf(stats.t.isf(0.025, freedom), freedom, shift)
    assert best == pytest.approx(0.79, abs=0.005)
    assert starred(np.random.default_rng(0), 600, (0, 330), (165, 165), 5, OF_CASES[0]) > best - 0.05


def test_the_frappe_page_keeps_its_clear_differences() -> None:
    rows = table(np.random.default_rng(0), MEANS, DEVIATIONS, 5, OF_CASES[1])
    found = pair_p_values(rows, np.ones(60))
    assert (found[0, [3, 4, 5, 6, 7, 8, 10, 11, 12, 13]] < 0.05).all()
    assert (found[0, [1, 2]] > 0.05).all()


@pytest.mark.parametrize(
    ("v", "f", "c", "cases"), [(1, 4, 0.5, 50), (0.2, 2.7, 1, 9), (3, 1, 0.01, 1000), (1, 40, 9, 3)]
)
def test_the_chance_of_two_noises_is_the_mean_over_the_first(v: float, f: float, c: float, cases: int) -> None:
    def tail(x: float) -> float:
        return stats.chi2.pdf(x, f) * 2 * stats.t.sf(2.5 / math.sqrt(v * f / x + c), cases)

    exact = integrate.quad(tail, 0, 1, limit=500)[0] + integrate.quad(tail, 1, np.inf, limit=500)[0]
    assert float(chance_of(*map(np.asarray, (-2.5, v, f, c)), cases)) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("difference", [0.0, 0.5, 2.0, 9.0, 200.0])
def test_one_noise_alone_is_students(difference: float) -> None:
    for freedom in (1, 2, 8.5, 300):
        seeds = chance_of(*map(np.asarray, (difference, 1.0, freedom, 0.0)), 10**9)
        assert float(seeds) == pytest.approx(2 * stats.t.sf(difference, freedom), rel=1e-5, abs=1e-11)
    cases = chance_of(*map(np.asarray, (difference, 0.0, 4.0, 1.0)), 7)
    assert float(cases) == pytest.approx(2 * stats.t.sf(difference, 7), rel=1e-5, abs=1e-11)


def test_where_nothing_varies_any_difference_is_sure() -> None:
    same = [SeedScores(np.full(3, v), np.full((3, 5), v)) for v in (0.5, 0.5, 0.75)]
    assert pair_p_values(same, np.ones(5))[0].tolist()[1:] == [1.0, 0.0]


def test_rows_of_one_run_have_no_p_and_take_no_part_in_the_correction() -> None:
    rng = np.random.default_rng(0)
    rows = table(rng, (0, 20), (10, 10), 4, 5)
    lone = one(rng.normal(size=60))
    alone, beside = pair_p_values(rows, np.ones(60)), pair_p_values([rows[0], lone, rows[1]], np.ones(60))
    assert beside[0, 2] == alone[0, 1]
    assert np.isnan(beside[1]).all()
    tests = compare([rows[0], lone, rows[1]], np.ones(60), [0])[0]
    assert [None if t is None else t.p for t in tests] == [None, None, alone[0, 1]]


def test_recipes_that_do_not_vary_are_told_apart_by_cases_alone() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=50), rng.normal(0.3, 1, 50)
    rows = [SeedScores(np.full(2, x.mean()), np.stack([x, x])) for x in (a, b)]
    assert pair_p_values(rows, np.ones(50))[0, 1] == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-6)


def interval_of(rows, count, **options):
    return compare(rows, count, [0], **options)[0][1]


def test_the_interval_of_a_mean_is_near_that_of_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.exponential(size=400), rng.exponential(1.1, 400)
    rows, count = [one(b), one(a)], np.ones(400)
    ours = interval_of(rows, count, resamples=9000)
    theirs = stats.bootstrap((a - b,), np.mean, n_resamples=9000, method="percentile", rng=1).confidence_interval
    assert ours.difference == pytest.approx((a - b).mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.006)  # its width is 0.28
    assert interval_of(rows, count, resamples=9000) == ours
    wider = interval_of(rows, count, level=0.99)
    assert wider.low < ours.low < ours.high < wider.high
    monkeypatch.setattr(significance, "_CELLS", 1000)  # drawn in parts
    parts = interval_of(rows, count, resamples=9000)
    assert (parts.low, parts.high) == pytest.approx((ours.low, ours.high), abs=0.006)


def test_the_interval_of_an_rmse_is_of_the_rmse_itself() -> None:
    rng = np.random.default_rng(0)
    label = rng.normal(size=300)
    scores = [label + rng.normal(0, sd, 300) for sd in (0.8, 1.0)]
    each = [RMSE().of_scores(s, label) for s in scores]
    ours = interval_of([one(e, RMSE.of_mean) for _, e in each], np.ones(300), of_mean=RMSE.of_mean, resamples=9000)
    assert ours.difference == pytest.approx(each[1][0] - each[0][0])

    def difference(a, b, axis):
        return np.sqrt(b.mean(axis)) - np.sqrt(a.mean(axis))

    errors = tuple(e for _, e in each)
    theirs = stats.bootstrap(errors, difference, paired=True, n_resamples=9000, method="percentile", rng=1)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.006)  # its width is 0.22


def test_the_interval_of_an_auc_is_near_that_of_resampled_rows() -> None:
    rng = np.random.default_rng(0)
    label = (rng.random(400) < 0.3).astype(float)
    scores = [np.round(label + rng.normal(0, sd, 400), 1) for sd in (0.7, 0.9)]  # with ties
    each = [AUC().of_scores(s, label) for s in scores]
    ours = interval_of([one(np.asarray(e, float)) for _, e in each], np.ones(400), resamples=9000)
    assert ours.difference == pytest.approx(each[1][0] - each[0][0], abs=1e-6)
    drawn = []
    for _ in range(3000):
        at = rng.integers(400, size=400)
        drawn.append(AUC().of_scores(scores[1][at], label[at])[0] - AUC().of_scores(scores[0][at], label[at])[0])
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.006)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        interval = interval_of([one(np.zeros(60)), one(rng.normal(0.3, 1, 60))], np.ones(60), level=0.9, resamples=400)
        covered += interval.low <= 0.3 <= interval.high
    assert 0.84 < covered / 300 < 0.95


def test_the_interval_of_several_seeds_covers_their_noise() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        interval = interval_of(table(rng, (0, 30), (36, 36), 3, 10), np.ones(60), resamples=800)
        covered += interval.low <= 30 <= interval.high
    assert covered / 200 > 0.93


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(DataError, match="between 0 and 1"):
        holm([0.1, 1.2])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.999))
def test_holm_rejects_what_stepping_down_rejects(p: list[float], alpha: float) -> None:
    order = sorted(range(len(p)), key=lambda i: p[i])
    rejected = set()
    for step, i in enumerate(order):
        if p[i] * (len(p) - step) > alpha:
            break
        rejected.add(i)
    assert {i for i, q in enumerate(holm(p)) if q <= alpha} == rejected


def test_cases_of_a_user_are_drawn_together_and_each_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    units = {"row": np.array([1, 4, 6, 9]), "user": np.array([7, 3, 7, 9]), "mrr": np.array([1.0, 0.0, 0.5, 1.0])}
    groups = Groups.of(units)
    assert groups.count.tolist() == [1, 2, 1]
    assert groups.sums(units, "mrr").tolist() == [0, 1.5, 1]  # their mean is that of the cases
    assert Groups.of({"row": units["row"]}).count.tolist() == [1, 1, 1, 1]
    monkeypatch.setattr(significance, "_GROUPS", 2)
    assert sorted(Groups.of(units).count) in ([1, 3], [2, 2])


def test_many_cases_in_groups_have_the_same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    units = {"row": np.arange(9000), "a": rng.normal(size=9000), "b": rng.normal(0.01, 1, 9000)}
    found = []
    for most in (1 << 14, 1000):
        monkeypatch.setattr(significance, "_GROUPS", most)
        groups = Groups.of(units)
        rows = [SeedScores(np.array([units[k].mean()]), groups.sums(units, k)[None]) for k in ("a", "b")]
        found.append(interval_of(rows, groups.count, resamples=3000))
    assert found[0].high - found[0].low == pytest.approx(found[1].high - found[1].low, rel=0.12)


def test_units_must_be_of_the_same_rows_and_finite() -> None:
    units = {"row": np.array([1, 4, 6]), "mrr": np.array([1.0, 0.5, 0.0])}
    groups = Groups.of(units)
    with pytest.raises(DataError, match="same test rows"):
        groups.sums(units | {"row": np.array([1, 4, 7])}, "mrr")
    with pytest.raises(DataError, match="did you mean 'mrr'"):
        groups.sums(units, "mmr")
    with pytest.raises(DataError, match=r"one value a case \(3,\), got \(2,\)"):
        groups.sums(units | {"mrr": np.zeros(2)}, "mrr")
    with pytest.raises(DataError, match="1 of mrr"):
        groups.sums(units | {"mrr": np.array([0, np.nan, 1])}, "mrr")
    with pytest.raises(DataError, match="2 or more"):
        Groups.of({"row": np.array([3])})
    with pytest.raises(DataError, match="level"):
        compare([one(np.zeros(3))], np.ones(3), [0], level=95)
