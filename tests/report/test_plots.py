"""Importance and learning curves, by hand."""

import re

from run_folders import make_run

from fmlab.report import svg
from fmlab.report.leaderboards import leaderboards
from fmlab.report.plots import _curve, importance
from fmlab.report.runs import find_runs


def test_the_option_that_decides_is_the_important_one(tmp_path):
    for n in range(16):
        deciding, idle = n % 4, n // 4
        make_run(
            tmp_path / str(n), {"model.dim": 2**deciding, "batch_size": 2**idle}, test=deciding + 0.01 * (n * 7 % 16)
        )
    runs = find_runs(tmp_path)[0]
    shares = dict(importance(leaderboards(runs)[0], runs))
    assert shares["model.dim"] > 0.9
    assert shares["batch_size"] < 0.1


def test_an_option_of_some_models_is_judged_among_them(tmp_path):
    for n in range(8):
        make_run(tmp_path / f"a{n}", {"model": {"name": "deep", "dropout": n % 2}, "seed": n}, test=n % 2 + 0.001 * n)
        make_run(tmp_path / f"b{n}", {"seed": n}, test=100 + n)
    runs = find_runs(tmp_path)[0]
    shares = dict(importance(leaderboards(runs)[0], runs))
    assert shares["model.dropout"] > 0.5
    assert shares["model"] > 0.6


def test_a_curve_leaves_out_the_last_check_of_the_best(tmp_path):
    make_run(tmp_path / "a")
    assert _curve(find_runs(tmp_path)[0][0], "val/mrr") == [(0.0, 0.05), (1.0, 0.1)]


def test_a_cost_of_nothing_stands_before_a_logarithmic_axis():
    text = svg.chart("t", "x", "y", [svg.Series("a", [(0.0, 1.0), (10.0, 2.0), (1000.0, 3.0)])], log=True)
    across = [float(x) for x in re.findall(r'cx="([0-9.]+)"', text)]
    assert across == sorted(across)
    assert across[1] - across[0] == svg._APART


def test_one_model_of_several_is_named_where_it_stands_alone():
    one = svg.Series("a", [(0.0, 1.0), (1.0, 2.0)], "line")
    assert ">a</text>" in svg.chart("t", "x", "y", [one], names=["a", "b"])
    assert ">a</text>" not in svg.chart("t", "x", "y", [one], names=["a"])


def test_a_value_far_from_all_others_does_not_flatten_them():
    points = [(float(n), 0.1 * n) for n in range(10)]
    near = svg.chart("t", "x", "y", [svg.Series("a", points)])
    far = svg.chart("t", "x", "y", [svg.Series("a", [*points[:-1], (9.0, 500.0)])])
    heights = [[float(y) for y in re.findall(r'cy="([0-9.]+)"', text)] for text in (near, far)]
    assert max(heights[1][:-1]) - min(heights[1][:-1]) > 200
    assert heights[1][-1] == min(heights[1])  # at the upper border
    assert len(set(heights[0])) == 10
