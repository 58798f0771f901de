"""What a budget holds is said before the start; trials that it cuts say how far they came, and stand apart."""

import json
import logging
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
sys.path.insert(0, str(Path(__file__).parent))

import sweeping
from run_folders import make_run

from fmlab.config import composition
from fmlab.plugin import registry
from fmlab.report import tables as sheets
from fmlab.report.leaderboards import best_of_each, leaderboards
from fmlab.report.runs import find_runs
from fmlab.sweep import automl as auto
from fmlab.sweep import coordinator
from fmlab.sweep.budget import Budget, least, measured, reserve
from fmlab.sweep.coordinator import Coordinator
from fmlab.sweep.launch import _announce
from fmlab.sweep.messages import Job, Progress, TrialTooLong
from fmlab.sweep.objective import TrialObjective
from fmlab.sweep.refit import _estimate
from fmlab.sweep.reporter import Reporter
from fmlab.sweep.spec import read
from fmlab.sweep.storage import locate, open_storage
from fmlab.sweep.study import Study
from fmlab.sweep.worker import Worker
from fmlab.sweep.worker_pool import WorkerPool


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


RAW = {"budget": "3m", "refit_seeds": [1, 2, 3], "space": {"model": {"choice": ["mf", "fm"]}}}


def said(caplog, raw, folder, left_out=()):
    caplog.set_level(logging.INFO, "fmlab")
    _announce(read("automl", raw), folder, dict(left_out))
    return [r.getMessage() for r in caplog.records]


def finished(value, model="mf", **result):
    domain = CategoricalDistribution(["mf", "fm"])
    return create_trial(
        state=TrialState.COMPLETE,
        value=value,
        params={"model": model},
        distributions={"model": domain},
        user_attrs={"result": result},
    )


def test_what_comes_after_the_search_is_kept_back_by_measured_times():
    trials = [finished(n, seconds=10.0, judged=float(n)) for n in range(1, 9)]
    plain = {**RAW, "budget": 1000, "refit_seeds": [], "direction": "maximize"}
    assert reserve(read("a", plain), trials, 2) == 0
    both = read("a", {**plain, "ensemble": True})
    assert reserve(both, [], 2) == pytest.approx(1.5 + 20)
    assert reserve(both, trials, 2) == pytest.approx(1.5 + 20 + 2 * (3 + 4 + 5 + 6 + 7 + 8)), "the best six"
    kept = [finished(n, seconds=10.0, judged=float(9 - n), scores_kept=True) for n in range(1, 9)]
    assert reserve(both, kept, 2) == pytest.approx(1.5 + 20 + 1 + 2 + 3 + 4 + 5 + 6), "the test alone"
    refit = read("a", {**plain, "refit_seeds": [1, 2, 3], "train_fraction": 0.5})
    assert reserve(refit, trials, 2) == pytest.approx(1.5 + 2 * 10 / 0.5), "three seeds on two workers, whole epochs"
    assert reserve(read("a", {**plain, "budget": 20, "ensemble": True}), trials, 2) == pytest.approx(6)
    assert reserve(read("a", {**plain, "budget": None, "n_trials": 2}), trials, 2) == 0


def test_a_refit_on_more_rows_is_kept_back_by_what_the_best_trials_took():
    """Twelve of 10 s, 6 s of them training up to the best epoch: eight are trained anew by two workers."""
    trials = [finished(n, seconds=10.0, fit=8.0, best_share=0.75) for n in range(12)]
    search = read("a", {**RAW, "budget": 1000, "refit_seeds": [], "direction": "maximize", "ensemble": True})
    growth, one = 1.25, 2 + 1.25 * 0.75 * 8
    before = reserve(search, trials, 2, 10.0)
    assert reserve(search, trials, 2, 10.0, growth) - before == pytest.approx(1.5 + 0.4 * 10 + 8 * one / 2)
    first = reserve(search, trials[:1], 2, 0.0, growth) - reserve(search, trials[:1], 2)
    assert first == pytest.approx(1.5 + one)
    for number, trial in enumerate(trials):
        trial.number = number
    trials[11].set_user_attr("continues", 10)
    trials[10].user_attrs["result"]["seconds"] = trials[10].user_attrs["result"]["fit"] = 500.0
    again = reserve(search, trials, 2, 10.0, growth) - before
    assert again == pytest.approx(1.5 + 0.4 * 10 + 8 * one / 2), "a trial that another one goes on from is no member"
    slow = [finished(n, seconds=900.0, fit=800.0) for n in range(2)]
    kept = reserve(search, slow, 2, 0.0, growth) - reserve(search, slow, 2)
    assert kept == pytest.approx(1000 * 0.3 * 2 / 4), "few are finished: the search goes first"


def test_a_trial_takes_at_least_what_a_limit_cannot_cut():
    trials = [
        finished(1, seconds=9.0, fit=5.0),
        finished(1, seconds=3.0),
        finished(1, "fm", seconds=30.0, fit=1.0),
    ]
    assert least(trials) == 3
    assert least(trials, "mf") == 3
    assert least(trials, "fm") == 29
    assert least(trials, "new") == 3
    assert least([]) == 0


def test_the_clock_of_a_budget_began_with_the_command():
    budget = Budget(100.0, spent=90.0)
    budget.reserve = 6.0
    assert 3 < budget.for_search() <= 4
    assert 9 < budget.left() <= 10
    assert Budget(None, spent=90.0).for_search() is None


def test_a_validation_that_is_too_long_ends_the_trial_and_the_tail_ends_training_early():
    progress = Progress(deadline=time.monotonic() + 100)
    assert not progress.time_is_up
    progress.judging(10.0, 5.0, 3.0)
    assert progress.tail == 30
    with pytest.raises(TrialTooLong, match="a validation takes 80 s"):
        progress.judging(80.0, 40.0, 3.0)
    assert progress.time_is_up, "training would end 240 seconds before the deadline"
    limited = Progress(most=0.01)
    assert not limited.time_is_up, "training begins here, whatever was prepared before"
    time.sleep(0.02)
    assert limited.time_is_up


@pytest.mark.usefixtures("toy")
def test_the_first_trial_is_waited_for_and_what_still_runs_is_ended(tmp_path, caplog):
    space = {"sleep": {"choice": [3, 500]}, "x": {"choice": [1]}}
    sweeping.conduct(tmp_path, {"sampler": "grid", "budget": 0.5, "space": space})
    trials = sweeping.trials_of(tmp_path, {"sampler": "grid"})
    assert [t.state for t in trials] == [TrialState.COMPLETE, TrialState.FAIL]
    assert trials[1].user_attrs["reason"] == "interrupted"
    assert "the first one is waited for" in caplog.text


@pytest.mark.usefixtures("toy")
def test_a_trial_that_cannot_be_cut_is_ended_when_it_takes_too_long(tmp_path, monkeypatch):
    """Of a budget that no machine is too slow for; trials that take long alone end this search."""
    monkeypatch.setattr(coordinator, "_OVERDUE_SHARE", 0.0)
    space = {"sleep": {"choice": [0.1, 5000]}, "x": {"choice": [1]}}
    raw = {"sampler": "grid", "budget": 1000, "trial_time_fraction": 1e-4, "space": space}
    sweeping.conduct(tmp_path, raw)
    states = [t.state for t in sweeping.trials_of(tmp_path, raw)]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED]


def test_models_that_do_not_take_part_are_one_line_and_a_file(caplog, tmp_path):
    left_out = {"a": "it reads user-item interactions", "b": "no context"}
    (line,) = said(caplog, {**RAW, "refit_seeds": []}, tmp_path, left_out.items())
    place = tmp_path / "left-out.txt"
    assert line == ("sweep automl: 2 models take part, 2 do not suit the data or the protocol: " + f"{place} says why")
    assert place.read_text() == "a: it reads user-item interactions\nb: no context\n"


def test_a_search_over_all_models_gives_the_reasons_and_says_no_line_each(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "fmlab")
    config = composition.compose(
        ["data=synthetic", "data.users=40", "data.items=30", "data.positives=6", f"cache_dir={tmp_path}"], {}
    )
    plain = OmegaConf.to_container(OmegaConf.masked_copy(config, [k for k in config if k != "hydra"]), resolve=True)
    names = registry.names
    monkeypatch.setattr(registry, "names", lambda k: ("mf", "broken") if k == "model" else names(k))
    found = {}
    auto.expand({"budget": 9, "auto": {}, "fixed": {}, "space": {}}, plain, found)
    assert list(found) == ["broken"]
    assert "no model named 'broken'" in found["broken"]
    assert not [r for r in caplog.records if "broken" in r.getMessage()]


def test_a_refit_is_estimated_from_the_trial(tmp_path):
    sweep = read("automl", {**RAW, "train_fraction": 0.5})
    make_run(tmp_path / "run", seconds_fit=8.0, epochs=4)
    trial = create_trial(state=TrialState.COMPLETE, value=1.0, user_attrs={"result": {"folder": str(tmp_path / "run")}})
    text = _estimate(sweep, trial, ["trainer.max_epochs=30"], 2)
    assert text == ": 30 epochs of about 4.0 s each at most, so up to 4.0 min"
    gone = create_trial(state=TrialState.COMPLETE, value=1.0, user_attrs={"result": {"folder": str(tmp_path / "no")}})
    assert _estimate(sweep, gone, ["trainer.max_epochs=30"], 2) == ""


def test_only_what_trains_by_epochs_can_be_cut(tmp_path):
    make_run(tmp_path / "solved", seconds_fit=8.0, epochs=None)
    make_run(tmp_path / "trained", seconds_fit=8.0, epochs=4)
    assert "fit" not in measured(tmp_path / "solved")
    assert measured(tmp_path / "trained")["fit"] == 8.0


def trainer(**more):
    plain = {"current_epoch": 1, "max_epochs": 5, "num_training_batches": 4, "global_step": 6, "should_stop": False}
    return SimpleNamespace(**{**plain, **more})


class Spent(Progress):
    @property
    def time_is_up(self):
        return True


LEARNER = SimpleNamespace(loader=range(8), scheduler=None, task=SimpleNamespace(validation=range(1), test=range(1)))


@pytest.mark.parametrize(
    ("more", "batch", "cut"),
    [
        ({}, 1, {"epochs": 1.5, "share": 0.75}),
        ({"global_step": 30}, 1, {"epochs": 1.5, "share": 1.0}),
        ({}, 3, {"epochs": 2, "share": 0.75}),  # the validation that follows says it
        ({"should_stop": True}, 1, None),  # it was about to end by itself
    ],
)
def test_a_run_that_is_cut_within_an_epoch_says_how_far_it_came(more, batch, cut):
    reporter, now = Reporter(Spent(metric="auc")), trainer(**more)
    now.state, now.sanity_checking, now.callback_metrics = SimpleNamespace(fn="fit"), False, {}
    reporter.on_train_batch_end(now, LEARNER, None, None, batch)
    if batch == 3:
        reporter.on_validation_end(now, LEARNER)
    assert reporter.cut == cut
    assert now.should_stop


def test_a_whole_run_is_not_marked_and_a_cut_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["data=synthetic", "data.users=40", "data.items=30", "data.positives=6", "logger=none", "model=mf"]
    job = Job("s", {}, {}, [], "", str(tmp_path))
    train = TrialObjective(job, {})
    common = [*small, "batch_size=64", f"cache_dir={tmp_path}/cache", "trainer.max_epochs=2"]
    train(common, tmp_path / "whole", Progress())
    train(common, tmp_path / "cut", Spent())
    whole, cut = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("whole", "cut"))
    assert "cut" not in whole
    assert (whole["status"], cut["status"]) == ("complete", "complete")
    assert 0 < cut["cut"]["epochs"] < 1
    assert cut["cut"]["share"] == pytest.approx(cut["cut"]["epochs"], abs=0.01)


def test_cut_trials_stand_apart_with_what_they_saw_and_without_stars(tmp_path):
    units = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    for n, (model, value) in enumerate((("mf", 0.3), ("fm", 0.2))):
        make_run(tmp_path / f"whole-{n}", {"model.name": model}, test=value, units=[u * value / 0.45 for u in units])
    for n, (model, value) in enumerate((("lr", 0.5), ("mf", 0.1))):
        cut = {"epochs": 0.37, "share": 0.372}
        make_run(
            tmp_path / f"cut-{n}", {"model.name": model}, test=value, units=[u * value / 0.45 for u in units], cut=cut
        )
    apart, found = leaderboards(find_runs(tmp_path)[0]), {}
    for board in map(best_of_each, apart):
        found[board.cut] = [row.title for row in board.own]
        (sheet,) = sheets.sheets(sheets.result(board, "mf"))
        assert any("vs best" in title for title in sheet.head) != board.cut
        assert board.cut == ("(trials cut by time)" in sheet.title)
        assert board.cut == any("are not compared" in n for n in sheet.notes)
        assert "fingerprint" not in sheet.title
    mark = "(cut after 0.37 epochs, 37% of the training rows seen)"
    assert found == {False: ["mf", "fm"], True: [f"lr  {mark}", f"mf  {mark}"]}


@pytest.mark.usefixtures("toy")
def test_a_budget_that_the_start_has_spent_gives_a_trial_all_the_same(tmp_path, caplog):
    raw = {"sampler": "random", "budget": 1, "space": {"x": {"float": [0, 1]}}}
    sweep = read("toy", raw)
    job = Job("toy", raw, {}, [], locate(None, tmp_path), str(tmp_path), objective="toy_objective:Toy")
    Coordinator(sweep, job, workers=1, budget=Budget(1.0, spent=5.0)).run()
    states = {t.state for t in sweeping.trials_of(tmp_path, raw)}
    assert TrialState.COMPLETE in states
    assert TrialState.FAIL not in states


@pytest.mark.usefixtures("toy")
def test_ctrl_c_while_workers_stop_ends_what_comes_after_the_search_too(tmp_path, monkeypatch):
    def interrupted(pool, seconds):
        if seconds < 0.5:  # as it waits for workers that stop
            raise KeyboardInterrupt
        return hear(pool, seconds)

    hear = WorkerPool.poll
    monkeypatch.setattr(WorkerPool, "poll", interrupted)
    raw = {"sampler": "grid", "space": {"x": {"choice": [1]}}}
    with pytest.raises(KeyboardInterrupt):
        sweeping.conduct(tmp_path, raw, workers=1)
    assert [t.state for t in sweeping.trials_of(tmp_path, raw)] == [TrialState.COMPLETE]
    assert (tmp_path / "results.json").is_file()


def test_a_worker_that_starts_late_has_no_later_end(tmp_path):
    raw = {"sampler": "grid", "budget": 100, "space": {"x": {"choice": [1]}}}
    store, sweep = locate(None, tmp_path), read("toy", raw)
    Study.create(open_storage(store), sweep.study, ["maximize"])
    told = time.time() + 40.0  # when it was hired; it is made now, perhaps long after
    worker = Worker(Job("toy", raw, {}, [], store, str(tmp_path), ends=told - 30), None, print)
    assert 8 < worker.deadline - time.monotonic() <= 10
    worker.limit(told - 35)
    assert 3 < worker.deadline - time.monotonic() <= 5
