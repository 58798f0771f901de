"""Tests over folds: against Student's t, on equal recipes that share training rows, and in a report."""

from pathlib import Path

import numpy as np
import pytest
from run_folders import make_run
from scipy import stats

from fmlab.report.comparisons import against
from fmlab.report.fold_tests import compare_folds, corrected_resampled_t
from fmlab.report.leaderboards import leaderboards
from fmlab.report.notes import notes
from fmlab.report.runs import find_runs


@pytest.mark.parametrize("folds", [2, 5, 10])
def test_without_a_correction_it_is_the_paired_t_test(folds: int) -> None:
    a, b = np.random.default_rng(folds).normal(0, 1, (2, folds))
    p, error = corrected_resampled_t(a - b, 0.0)
    expected = stats.ttest_rel(a, b)
    assert p == pytest.approx(expected.pvalue, rel=1e-9)
    assert error == pytest.approx((a - b).mean() / expected.statistic, rel=1e-9)


def test_the_correction_widens_the_variance_as_printed() -> None:
    differences = np.array([0.02, 0.05, -0.01, 0.03, 0.04])
    t = differences.mean() / np.sqrt((1 / 5 + 1 / 9) * differences.var(ddof=1))
    assert corrected_resampled_t(differences, 1 / 9)[0] == pytest.approx(2 * stats.t.sf(abs(t), 4), rel=1e-9)


def test_folds_that_do_not_vary() -> None:
    assert corrected_resampled_t(np.zeros(3), 0.1) == (1.0, 0.0)
    assert corrected_resampled_t(np.full(3, 0.5), 0.1)[0] == 0.0


def figures(rng: np.random.Generator, split: str, folds: int, rows: int = 200) -> tuple[np.ndarray, float]:
    """Accuracies of two equal recipes, a threshold on one of two equal features, on folds of one small data set."""
    label = rng.integers(0, 2, rows)
    feature, order = rng.normal(0, 1, (2, rows)) + label, rng.permutation(rows)
    found = np.zeros((2, folds))
    for fold in range(folds):
        test = order[fold::folds] if split == "k_fold" else rng.choice(rows, rows // 10, replace=False)
        train = np.setdiff1d(np.arange(rows), test)
        for recipe in range(2):
            means = [feature[recipe, train[label[train] == y]].mean() for y in (0, 1)]
            found[recipe, fold] = ((feature[recipe, test] > np.mean(means)) == label[test]).mean()
    return found, len(test) / len(train)


@pytest.mark.parametrize(("split", "folds"), [("k_fold", 5), ("k_fold", 10), ("random", 5), ("random", 10)])
def test_of_equal_recipes_at_most_one_in_twenty_has_a_star(split: str, folds: int) -> None:
    rng, plain, corrected, tables = np.random.default_rng(0), 0, 0, 400
    for _ in range(tables):
        (a, b), ratio = figures(rng, split, folds)
        corrected += corrected_resampled_t(a - b, ratio)[0] < 0.05
        plain += stats.ttest_rel(a, b).pvalue < 0.05
    assert corrected <= 0.05 * tables
    assert corrected < plain, "the plain test takes folds for independent"


def test_p_is_corrected_for_all_pairs_and_taken_on_shared_folds() -> None:
    rows = [{0: 0.5, 1: 0.52, 2: 0.51}, {1: 0.4, 2: 0.43, 3: 0.1}, {2: 0.3}]
    (line,) = compare_folds(rows, 0.25, [0])
    assert line[0] is None
    assert line[2] is None
    assert line[1].difference == pytest.approx(-0.1)
    assert line[1].p == pytest.approx(corrected_resampled_t(np.array([0.12, 0.08]), 0.25)[0])
    (line,) = compare_folds([rows[0], {k: v - 0.1 for k, v in rows[0].items()}, rows[0]], 0.25, [0])
    assert line[2].p == 1.0
    assert line[1].low == pytest.approx(-0.1)


def test_runs_over_folds_make_one_row_and_are_tested_over_folds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for dim in (8, 16):
        for fold in range(5):
            figure = 0.1 + 0.02 * (dim == 16) + 0.001 * rng.normal()
            counts = {"training_rows": 900, "unseen": {"test": {"rows": 100}}}
            options = {"model.dim": dim, "protocol.fold": fold}
            make_run(tmp_path / f"{dim}-{fold}", options, test=figure, units=[figure] * (3 + fold), **counts)
    (board,) = leaderboards(find_runs(tmp_path)[0])
    assert [len(row.runs) for row in board.own] == [5, 5]
    (tested,) = against(board, [board.own[0]])
    assert (tested.cases, tested.pairs, tested.why) == ("folds", 1, ())
    values = [[run.content["test"]["mrr"] for run in row.runs] for row in board.own]
    expected = corrected_resampled_t(np.subtract(*values), 1 / 9)[0]
    assert tested.found[1].p == pytest.approx(expected)
    assert any("Nadeau" in line for line in notes(board, [tested]))


def test_runs_that_do_not_say_their_rows_are_not_tested(tmp_path: Path) -> None:
    for fold in range(2):
        make_run(tmp_path / str(fold), {"protocol.fold": fold})
        make_run(tmp_path / f"other-{fold}", {"protocol.fold": fold, "model.dim": 8})
    (board,) = leaderboards(find_runs(tmp_path)[0])
    (tested,) = against(board, [board.own[0]])
    assert not tested.found
    assert "how many rows" in tested.why[0]
