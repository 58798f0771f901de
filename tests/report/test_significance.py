"""Paired tests against SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from fmlab.errors import DataError
from fmlab.report import significance
from fmlab.report.significance import compare, holm, paired_t_test, paired_units, per_group


@pytest.mark.parametrize("n", [2, 3, 10, 1000, 200_000])
@pytest.mark.parametrize("shift", [0.0, 0.02, 1.0])
def test_the_t_test_is_that_of_scipy(n: int, shift: float) -> None:
    rng = np.random.default_rng(n)
    a = rng.normal(size=n)
    b = a + rng.normal(shift, 0.5, n)
    ours, theirs = paired_t_test(a, b), stats.ttest_rel(a, b)
    assert ours.difference == pytest.approx((a - b).mean())
    assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-9)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-8, abs=1e-300)
    assert ours.freedom == theirs.df


@given(st.floats(0.05, 2000), st.floats(0.05, 50), st.floats(0, 1))
def test_the_incomplete_beta_function_is_that_of_scipy(a: float, b: float, x: float) -> None:
    assert significance._beta(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-7, abs=1e-12)


def test_equal_differences_have_no_spread_to_test() -> None:
    a = np.array([0.1, 0.5, 0.9])
    assert paired_t_test(a, a)[1:3] == (0.0, 1.0)
    assert paired_t_test(a, a - 0.25)[1:3] == (np.inf, 0.0)
    assert paired_t_test(a, a + 0.25)[1:3] == (-np.inf, 0.0)


def test_the_bootstrap_interval_is_near_that_of_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.exponential(size=400), rng.exponential(1.1, 400)
    (ours,) = compare(b, [a], resamples=9000)
    theirs = stats.bootstrap((a - b,), np.mean, n_resamples=9000, method="percentile", rng=1).confidence_interval
    assert ours.difference == pytest.approx((a - b).mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.006)  # its width is 0.28
    assert compare(b, [a], resamples=9000) == [ours]
    (wider,) = compare(b, [a], level=0.99)
    assert wider.low < ours.low < ours.high < wider.high
    monkeypatch.setattr(significance, "_CELLS", 1000)  # drawn in parts
    (parts,) = compare(b, [a], resamples=9000)
    assert (parts.low, parts.high) == pytest.approx((ours.low, ours.high), abs=0.006)


def test_the_bootstrap_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(300):
        a = rng.normal(0.3, 1, 60)
        (interval,) = compare(np.zeros(60), [a], level=0.9, resamples=400, seed=seed)
        covered += interval.low <= 0.3 <= interval.high
    assert 0.84 < covered / 300 < 0.95


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


def test_cases_are_averaged_over_their_users() -> None:
    assert per_group(np.array([1.0, 0.0, 0.5, 1.0]), np.array([7, 3, 7, 9])).tolist() == [0, 0.75, 1]


def test_two_reports_are_paired_by_user_or_by_row() -> None:
    a = {"row": np.array([1, 4, 6]), "user": np.array([5, 2, 5]), "mrr": np.array([1.0, 0.5, 0.0])}
    b = a | {"mrr": np.array([0.5, 0.25, 0.5])}
    assert [v.tolist() for v in paired_units(a, b, "mrr")] == [[0.5, 0.5], [0.25, 0.5]]
    rows = [{k: v for k, v in units.items() if k != "user"} for units in (a, b)]
    assert [v.tolist() for v in paired_units(*rows, "mrr")] == [[1, 0.5, 0], [0.5, 0.25, 0.5]]
    with pytest.raises(DataError, match="same test rows"):
        paired_units(a, b | {"row": np.array([1, 4, 7])}, "mrr")
    with pytest.raises(DataError, match="did you mean 'mrr'"):
        paired_units(a, b, "mmr")


def test_units_must_be_paired_and_finite() -> None:
    with pytest.raises(DataError, match="same 2 or more units"):
        paired_t_test(np.zeros(3), np.zeros(4))
    with pytest.raises(DataError, match="same 2 or more units"):
        compare(np.zeros(1), [np.zeros(1)])
    with pytest.raises(DataError, match="1 pairs"):
        paired_t_test(np.zeros(3), np.array([0, np.nan, 1]))
    with pytest.raises(DataError, match="level"):
        compare(np.zeros(3), [np.zeros(3)], level=95)
