"""What reports say of how runs were judged, from run folders as runs leave them and as others may have made them."""

import csv
import io
import math

import pytest
from run_folders import make_run

import fmlab
from fmlab.cli.report import main
from fmlab.report.evaluation_facts import curve_of, groups_of, on_group, protocol_of, shares_of
from fmlab.report.leaderboards import leaderboards
from fmlab.report.runs import find_runs

CTR = {"protocol": {"name": "ctr", "monitor": "auc"}}


def judged(folder, model="fm", seed=0, new=0.7, **content):
    groups = {
        "new pairs": {"rows": 60.0, "auc": new, "logloss": 0.5},
        "not answered": {"rows": 60.0, "auc": new, "logloss": 0.5},
        "cold users": {"rows": 2.0},
        "tail items": {"rows": 30.0, "auc": 0.6, "logloss": 0.4},
    }
    curve = [{"probability": p, "label": p * 0.9, "rows": 10} for p in (0.1, 0.5, 0.8)]
    given = {
        "protocol_described": {"split": "given with the data", "rows": "9 training"},
        "audit": {"shares": {"pair in training": 0.4, "cold user": 0.0001, "answered": 0.0}, "groups": groups},
        "test_details": {"reliability": {"copc": 0.9, "ece": 0.07, "curve": curve}},
    }
    options = {"model.name": model, "seed": seed, **CTR}
    make_run(folder, options, test={"auc": 0.8, "logloss": 0.3}, **{**given, **content})


@pytest.fixture
def runs(tmp_path):
    judged(tmp_path / "a", seed=0, new=0.7)
    judged(tmp_path / "b", seed=1, new=0.72)
    judged(tmp_path / "c", "lookup", new=0.5)
    return tmp_path


def test_figures_on_parts_are_means_over_seeds_and_equal_parts_stand_once(runs):
    (board,) = leaderboards(find_runs(runs)[0])
    assert groups_of(board) == {"new pairs": 60, "tail items": 30}
    fm = next(row for row in board.own if row.model == "fm")
    assert on_group(fm, "new pairs", "auc") == pytest.approx((0.71, math.sqrt(2) * 0.01))
    assert on_group(fm, "cold users", "auc") is None
    assert protocol_of(board) == {"split": "given with the data", "rows": "9 training"}
    assert shares_of(board)["pair in training"] == pytest.approx(0.4)


def test_text_csv_and_python_say_how_runs_were_judged(runs, capsys):
    assert main([str(runs), "--markdown"]) == 0
    text = capsys.readouterr().out
    assert "| model | auc, all rows | new pairs (60) | tail items (30) | copc | ece |" in text
    assert "| fm | 0.8000 ± 0.0000 | 0.7100 ± 0.0141 | 0.6000 ± 0.0000 | 0.9000 ± 0.0000 |" in text
    assert "protocol: split: given with the data; rows: 9 training" in text
    assert (
        "of the test rows 40.0% have their user and item in training, <0.1% have a user without training rows" in text
    )
    assert main([str(runs), "--csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    (line,) = [one for one in lines if one["metric"] == "auc on new pairs" and one["model"] == "lookup"]
    assert (float(line["mean"]), line["rows"]) == (0.5, "60")
    frame = fmlab.report(runs)
    assert sorted(frame["test/auc on new pairs"]) == [0.5, 0.7, 0.72]
    assert set(frame["protocol/split"]) == {"given with the data"}
    assert set(frame["audit/pair in training"]) == {0.4}
    assert set(frame["reliability/copc"]) == {0.9}


def test_the_page_says_it_above_the_table_and_draws_reliability(runs, capsys):
    target = runs / "page.html"
    assert main([str(runs), "--html", str(target)]) == 0
    page = target.read_text("utf-8")
    assert "<dt>split</dt><dd>given with the data</dd>" in page
    assert 'style="background-size:40.0% 100%">40.0%</span><span>have their user and item in training' in page
    assert page.count("given with the data") == 1
    assert "Reliability on the test" in page
    assert "0.5 said, 0.45 seen, 10 rows" in page
    assert page.index("new pairs (60)") > page.index("sorted by validation auc")
    assert "the other metrics on parts of the test" in page
    assert "seeds 0, 1<br/>" in page


def test_folds_tell_their_protocols_beside_each_other(tmp_path):
    for fold in (0, 1):
        split = {"split": f"k_fold, fold {fold} of 2", "ties": "expected"}
        judged(tmp_path / str(fold), protocol_described=split)
        config = (
            (tmp_path / str(fold) / "config.yaml")
            .read_text()
            .replace('"name": "ctr"', f'"name": "ctr", "fold": {fold}')
        )
        (tmp_path / str(fold) / "config.yaml").write_text(config)
    (board,) = leaderboards(find_runs(tmp_path)[0])
    assert protocol_of(board) == {"split": "k_fold, fold 0 of 2 / k_fold, fold 1 of 2", "ties": "expected"}


@pytest.mark.parametrize(
    "content",
    [
        {"audit": None, "protocol_described": None, "test_details": None},
        {"audit": [], "protocol_described": "x", "test_details": {"reliability": []}},
        {"audit": {"shares": [1], "groups": {"new pairs": 3}}, "protocol_described": {"split": {"a": 1}}},
        {"audit": {"shares": {"pair in training": "many"}, "groups": {"new pairs": {"auc": "x", "rows": 1e300}}}},
        {"test_details": {"reliability": {"copc": None, "curve": [{"probability": "a"}, 3]}}, "audit": None},
    ],
)
def test_what_a_foreign_run_does_not_hold_is_left_out(tmp_path, capsys, content):
    judged(tmp_path / "runs" / "odd", "odd", **content)
    judged(tmp_path / "runs" / "good")
    assert main([str(tmp_path / "runs"), "--html", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "new pairs (60)" in page
    runs = find_runs(tmp_path / "runs")[0]
    assert len(curve_of(next(r for r in runs if r.content["model"] == "fm"))) == 3
    assert main([str(tmp_path / "runs"), "--csv"]) == 0
    assert "auc on new pairs" in capsys.readouterr().out
