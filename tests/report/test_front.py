"""The front of validation against costs, in tables and in the results of a sweep, and a point of it trained again."""

from itertools import product

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from run_folders import make_run

from fmlab.cli import refit
from fmlab.errors import FmlabError
from fmlab.files import bytes_of
from fmlab.report.front import FRONTS, front
from fmlab.report.leaderboards import leaderboards
from fmlab.report.runs import find_runs
from fmlab.report.tables import front_table
from fmlab.sweep.spec import read
from fmlab.sweep.summary import front_trials

POINTS = [(c, v) for c, v in product((100, 200, 200, 300, 400), (0.1, 0.3))]


def dominated(cost, value, others):
    return any((c <= cost and v >= value) and (c < cost or v > value) for c, v in others)


def board_of(folder, points, **more):
    for n, (cost, value) in enumerate(points):
        costs = {"parameters": cost, "bytes": 4 * cost, "microseconds_per_row": 0.5}
        make_run(folder / "trials" / f"{n:04d}", {"model.dim": n + 1}, test=value, **{**costs, **more})
    (board,) = leaderboards(find_runs(folder)[0])
    return board


@pytest.mark.parametrize("seed", range(4))
def test_the_front_is_what_no_other_row_beats(tmp_path, seed):
    rng = np.random.default_rng(seed)
    points = [(int(c), round(float(v), 2)) for c, v in zip(rng.integers(1, 9, 12), rng.random(12), strict=True)]
    board = board_of(tmp_path, points)
    found = [(row.cost("parameters"), row.value) for row in front(board, "parameters")]
    expected = {p for p in points if not dominated(*p, points)}
    assert set(found) == expected
    assert found == sorted(found)
    only = front(board, "microseconds_per_row")  # all cost the same: the best by the validation alone
    assert [row.value for row in only] == [max(v for _, v in points)]


def test_the_table_names_trials_and_costs_and_does_not_look_at_the_test(tmp_path):
    points = [(100, 0.1), (200, 0.3), (300, 0.2)]
    board = board_of(tmp_path, points)
    (sheet,) = front_table(board)
    assert [row[1:3] for row in sheet.rows] == [("0000", "parameters, bytes"), ("0001", "parameters, bytes, time")]
    assert sheet.rows[0][3:] == ("0.1000", "100", "400", "0.5")
    assert "test" not in " ".join(sheet.head)
    one = board_of(tmp_path / "one", [(100, 0.3), (200, 0.1)])
    assert front_table(one) == []  # one row is all of it


def test_runs_without_a_record_of_costs_are_left_out(tmp_path):
    board = board_of(tmp_path, [(100, 0.1), (200, 0.3)], bytes=None, microseconds_per_row=None, parameters=None)
    assert all(front(board, name) == [] for name in FRONTS)
    assert front_table(board) == []


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_results_of_a_sweep_hold_the_front(direction):
    raw = {"metric": "mrr", "direction": direction, "sampler": "grid", "space": {"model": {"choice": ["fm"]}}}
    sweep = read("s", raw)
    sign = 1 if direction == "maximize" else -1
    trials = [trial(n, sign * v, parameters=c, bytes=c, microseconds_per_row=1.0) for n, (c, v) in enumerate(POINTS)]
    trials.append(trial(99, sign * 9.0))  # of an older version: no costs
    found = [(t.user_attrs["result"]["parameters"], sign * t.values[0]) for t in front_trials(sweep, trials)]
    assert found == [(100, 0.3)]
    trials.append(trial(50, sign * 0.4, parameters=500, bytes=500, microseconds_per_row=2.0))
    assert [t.number for t in front_trials(sweep, trials)] == [1, 50]


def trial(number, value, **costs) -> FrozenTrial:
    made = create_trial(state=TrialState.COMPLETE, value=value, user_attrs={"result": costs})
    made.number = number
    return made


def test_a_point_is_trained_again_with_its_own_options_and_new_seeds(tmp_path):
    make_run(tmp_path / "trials" / "0007", {"model.dim": 3, "seed": 4})
    own, typed = refit.overrides([str(tmp_path), "7", "trainer.max_epochs=9"])
    assert "model.dim=3" in own
    assert not any(o.startswith(("seed=", "trainer.max_epochs=")) for o in own)
    assert typed[:3] == ["-m", "trainer.max_epochs=9", "seed=1,2,3"]
    assert any(o.startswith("hydra.sweep.dir=") and o.strip("'\"").endswith("point-0007") for o in typed)
    assert "seed=8" in refit.overrides([str(tmp_path), "7", "seed=8"])[1]
    assert "seed=1,2,3" not in refit.overrides([str(tmp_path), "7", "seed=8"])[1]


def test_what_is_not_a_point_is_refused(tmp_path):
    make_run(tmp_path / "trials" / "0003")
    with pytest.raises(FmlabError, match="got 5; its trials: 0003 to 0003"):
        refit.overrides([str(tmp_path), "5"])
    for wrong in ([], [str(tmp_path)], [str(tmp_path), "best"]):
        with pytest.raises(FmlabError, match="takes the folder of a sweep and the number of a trial"):
            refit.overrides(wrong)
    with pytest.raises(FmlabError, match="got '--fast'"):
        refit.overrides([str(tmp_path), "3", "--fast"])


def test_bytes_are_read_as_people_write_them():
    wanted = {"500MB": 5e8, "8GB": 8e9, "1.5 gb": 1.5e9, "2T": None, "2TB": 2e12, 1024: 1024, "7B": 7}
    for text, number in wanted.items():
        if number is None:
            with pytest.raises(FmlabError, match="memory_limit must be a number of bytes"):
                bytes_of(text, "memory_limit")
        else:
            assert bytes_of(text, "memory_limit") == number
    raw = {"sampler": "grid", "space": {"model": {"choice": ["fm"]}}, "workers": 2}
    assert read("s", {**raw, "memory_limit": "3GB"}).memory_of_worker == 1_500_000_000
    with pytest.raises(FmlabError, match="memory_limit must be a number of bytes"):
        read("s", {**raw, "memory_limit": "much"})
