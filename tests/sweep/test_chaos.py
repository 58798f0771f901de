"""Killed, interrupted, frozen, joined: every asked point is completed once, and nothing is left running."""

import json
import os
import signal
import time

import pytest
from optuna.trial import TrialState
from sweeping import Sweep, conduct, is_alive, runs, tally, trials_of

from fmlab.sweep.messages import SweepFailed


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def grid(points, sleep=0.0, **more):
    fixed = {"sleep": sleep, **more.pop("fixed", {})}
    return {
        "sampler": "grid",
        "heartbeat": 0.2,
        "fixed": fixed,
        "space": {"x": {"choice": list(range(points))}},
        **more,
    }


def assert_each_once(folder, raw, points):
    counts, unfinished = tally(folder, raw)
    assert counts == {f'{{"x": {n}}}': 1 for n in range(points)}
    assert unfinished == 0


def test_a_failed_point_and_a_killed_worker_do_not_stop_a_sweep_and_are_tried_again(tmp_path):
    raw = grid(8, fixed={"fail_if": 3, "die_if": 5})
    with pytest.raises(SweepFailed, match="1 points"):
        conduct(tmp_path, raw)
    counts, unfinished = tally(tmp_path, raw)
    assert counts == {f'{{"x": {n}}}': int(n != 3) for n in range(8)}
    assert unfinished == 0
    (failed,) = [t for t in trials_of(tmp_path, raw) if t.user_attrs.get("reason") == "failed"]
    text = (tmp_path / "trials" / f"{failed.number:04d}" / "error.txt").read_text()
    assert "python -m fmlab sleep=0.0 fail_if=3" in text
    assert "x=3" in text.splitlines()[0]
    assert "ValueError: x may not be 3" in text
    (lost,) = [t for t in trials_of(tmp_path, raw) if t.user_attrs.get("reason") == "lost"]
    record = tmp_path / "trials" / f"{lost.number:04d}" / "metrics.json"
    assert json.loads(record.read_text()) == {"status": "lost"}
    before = len(runs(tmp_path))
    with pytest.raises(SweepFailed):
        conduct(tmp_path, raw)
    assert [r.split()[-1] for r in runs(tmp_path)[before:]] == ["x=3"]


def test_an_extended_sweep_counts_the_points_that_it_asks_for(tmp_path, caplog):
    caplog.set_level("INFO", "fmlab")
    conduct(tmp_path, grid(2))
    caplog.clear()
    conduct(tmp_path, grid(0, space={"x": {"choice": [1, 2, 3]}}, allow_space_change=True))
    said = [r.getMessage() for r in caplog.records]
    assert "3 points, 1 done before" in said[0]
    assert [line.split()[0] for line in said if line.startswith("[")] == ["[2/3]", "[3/3]"]


def test_ctrl_c_stops_in_order_and_the_same_command_finishes_what_is_missing(tmp_path):
    raw = grid(10, sleep=0.4)
    sweep = Sweep(tmp_path, raw)
    workers = sweep.wait_for(3)
    sweep.kill(signal.SIGINT)
    status, _ = sweep.end()
    assert status == 130
    assert not any(is_alive(pid) for pid in workers)
    trials = trials_of(tmp_path, raw)
    assert not [t for t in trials if t.state == TrialState.RUNNING]
    complete = {t.user_attrs["point"]["x"] for t in trials if t.state == TrialState.COMPLETE}
    before = len(runs(tmp_path))
    conduct(tmp_path, {**raw, "workers": 2})
    assert_each_once(tmp_path, raw, 10)
    again = {int(r.split()[-1].removeprefix("x=")) for r in runs(tmp_path)[before:]}
    assert again == set(range(10)) - complete


def test_workers_end_with_their_killed_coordinator_and_a_new_one_goes_on(tmp_path):
    raw = grid(8, sleep=0.5)
    sweep = Sweep(tmp_path, raw)
    workers = sweep.wait_for(2)
    sweep.kill()
    sweep.end()
    until = time.monotonic() + 240
    while any(is_alive(pid) for pid in workers) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(is_alive(pid) for pid in workers)
    assert not [t for t in trials_of(tmp_path, raw) if t.state == TrialState.RUNNING]
    conduct(tmp_path, raw)
    assert_each_once(tmp_path, raw, 8)


@pytest.mark.slow
def test_the_late_result_of_a_frozen_worker_is_refused(tmp_path):
    raw = grid(6, sleep=0.5)
    sweep = Sweep(tmp_path, raw)
    frozen = sweep.wait_for(1)[0]
    os.kill(frozen, signal.SIGSTOP)
    status, output = sweep.end()  # the others do its work; the sweep ends by killing it, frozen as it is
    assert status == 0, output
    assert_each_once(tmp_path, raw, 6)
    assert [t.user_attrs["reason"] for t in trials_of(tmp_path, raw) if t.state == TrialState.FAIL] == ["lost"]


@pytest.mark.slow
def test_a_frozen_worker_that_comes_back_works_on_but_its_old_trial_does_not_count(tmp_path):
    raw = grid(14, sleep=0.4)
    sweep = Sweep(tmp_path, raw)
    frozen = sweep.wait_for(1)[0]
    os.kill(frozen, signal.SIGSTOP)
    until = time.monotonic() + 240
    while not [t for t in trials_of(tmp_path, raw) if t.state == TrialState.FAIL] and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(frozen, signal.SIGCONT)
    status, output = sweep.end()
    assert status == 0, output
    assert "refused" in output
    assert_each_once(tmp_path, raw, 14)


def test_two_shells_share_one_study(tmp_path):
    raw = grid(40, storage=f"sqlite:///{tmp_path}/study.db")
    shells = [Sweep(tmp_path / str(n), raw) for n in range(2)]
    for shell in shells:
        status, output = shell.end()
        assert status == 0, output
    assert_each_once(tmp_path, raw, 40)
    assert all(runs(tmp_path / str(n)) for n in range(2))
    assert len(runs(tmp_path / "0")) + len(runs(tmp_path / "1")) == 40


def test_a_sweep_that_fails_from_the_start_is_stopped(tmp_path):
    raw = grid(20, fixed={"y": "three"})
    with pytest.raises(SweepFailed, match="the first 3 trials failed alike"):
        conduct(tmp_path, raw)
    assert len(runs(tmp_path)) < 10
    assert not [t for t in trials_of(tmp_path, raw) if t.state == TrialState.RUNNING]


def test_a_budget_ends_a_sweep_without_an_end(tmp_path):
    raw = {"sampler": "random", "budget": 2, "fixed": {"sleep": 0.1}, "space": {"x": {"float": [0, 1]}}}
    conduct(tmp_path, raw)
    states = {t.state for t in trials_of(tmp_path, raw)}
    assert TrialState.COMPLETE in states
    assert TrialState.RUNNING not in states


def test_no_trial_begins_after_the_budget(tmp_path):
    raw = {"sampler": "random", "budget": 2.5, "fixed": {"sleep": 1.0}, "space": {"x": {"float": [0, 1]}}}
    conduct(tmp_path, raw, workers=2)
    assert len(runs(tmp_path)) <= 2 * 3  # each worker begins at 0, 1 and 2 seconds; others keep waiting
    ended = trials_of(tmp_path, raw)
    assert {t.state for t in ended} <= {TrialState.COMPLETE, TrialState.WAITING, TrialState.FAIL}
    reasons = [t.user_attrs["reason"] for t in ended if t.state == TrialState.FAIL]
    assert set(reasons) <= {"no time", "interrupted"}, "those that were not over when a slow start was"
    assert TrialState.COMPLETE in {t.state for t in ended}


def test_seeds_are_averaged_and_bad_trials_pruned(tmp_path):
    raw = {
        "sampler": "grid",
        "pruner": {"name": "median", "n_startup_trials": 2},
        "seeds": [0, 3],
        "fixed": {"steps": 2},
        "space": {"x": {"choice": [5, 6, 1, 2]}},
    }
    conduct(tmp_path, raw, workers=1)
    trials = trials_of(tmp_path, raw)
    assert [t.state.name for t in trials] == ["COMPLETE", "COMPLETE", "PRUNED", "PRUNED"]
    assert [t.value for t in trials[:2]] == pytest.approx([5.0015, 6.0015])


def test_several_objectives_are_kept_apart(tmp_path):
    raw = {
        "sampler": "grid",
        "metric": ["", "cost"],
        "direction": ["maximize", "minimize"],
        "space": {"x": {"choice": [1, 2]}, "y": {"choice": [3, 4]}},
    }
    conduct(tmp_path, raw)
    values = sorted(t.values for t in trials_of(tmp_path, raw))
    assert values == [[0, 1], [1, 1], [1, 2], [2, 2]]
