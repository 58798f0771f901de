"""The summary of a leaderboard says what its figures say."""

import numpy as np
from run_folders import make_run

from fmlab.report.html import page
from fmlab.report.leaderboards import leaderboards
from fmlab.report.runs import find_runs
from fmlab.report.summary import summary
from fmlab.report.tables import result


def told(folder):
    runs = find_runs(folder)[0]
    (board,) = leaderboards(runs)
    one = result(board)
    return dict(summary(one, runs)), page([one], runs, [])


def test_each_line_has_its_figures(tmp_path):
    noise = np.random.default_rng(0).normal(size=50)
    units = 0.3 + 0.01 * (noise - noise.mean())
    costs = {"bytes": 4000, "microseconds_per_row": 0.25, "seconds_fit": 90.0}
    make_run(tmp_path / "trials" / "0004", test=0.30, units=units, epochs=4, **costs)
    make_run(tmp_path / "b", {"model": {"name": "popularity"}}, test=0.10, units=units - 0.2, seconds_fit=30.0)
    make_run(tmp_path / "c", {"model": {"name": "mf"}}, test=0.25, units=units - 0.05)
    make_run(tmp_path / "d", {"model": {"name": "deepfm"}}, test=0.0, status="pruned")
    found, html = told(tmp_path)
    assert found["Best model"].startswith("fm: test mrr 0.3000; chosen by validation mrr 0.3000")
    assert found["Gain"].startswith("+0.2000 mrr over popularity (0.1000), 95% interval +0.2000 to +0.2000")
    assert found["Cost"] == (
        "1.5 min of training, 1,000 parameters, 4.0 kB, 0.25 us a row on one core; all 4 runs trained for 2.1 min"
    )
    assert "mf is 0.0500 behind" in found["What was tried"]
    assert "popularity is 0.2000 behind" in found["What was tried"]
    assert "1 run pruned" in found["What was tried"]
    assert found["Next"].endswith("fmlab sweep refit FOLDER 0004")
    assert "no difference can be shown" in found["Confidence"]
    assert "<dt>Gain</dt><dd>+0.2000 mrr over popularity" in html


def test_several_seeds_are_ready_to_serve(tmp_path):
    for seed in range(3):
        make_run(tmp_path / f"a{seed}", {"seed": seed}, test=0.30 + seed / 1000)
    found, _ = told(tmp_path)
    assert "3 runs of it" in found["Confidence"]
    assert found["Next"].startswith("serve it: fmlab export")
    assert found["Gain"].startswith("no simple baseline was run")
    assert "What was tried" not in found


def test_seeds_are_asked_for_where_a_model_has_them_alone(tmp_path):
    make_run(tmp_path / "a", {"model": {"name": "ease"}}, test=0.3, epochs=None)
    make_run(tmp_path / "b", {"model": {"name": "fm"}}, test=0.2, epochs=2)
    assert told(tmp_path)[0]["Next"].startswith("serve it: fmlab export")
    for fold in range(3):
        make_run(tmp_path / f"c{fold}", {"protocol.fold": fold, "model.dim": 9}, test=0.4 + fold / 1000, epochs=2)
    assert not told(tmp_path)[0]["Next"].startswith("train it with several seeds")


def test_a_baseline_that_wins_is_said(tmp_path):
    make_run(tmp_path / "a", {"model": {"name": "popularity"}}, test=0.3)
    make_run(tmp_path / "b", test=0.2)
    assert told(tmp_path)[0]["Gain"] == "the best is a simple baseline itself"
