"""The study as a study, on each local storage: one runs a trial, what was given up stays given up."""

import multiprocessing

import optuna
import pytest
from optuna.trial import TrialState

from fmlab.errors import FmlabError
from fmlab.sweep.compatibility import check_identity
from fmlab.sweep.spec import read
from fmlab.sweep.storage import locate, open_storage
from fmlab.sweep.study import Study, TrialRequest, request_of
from fmlab.sweep.suggest import distribution, quiet

quiet()


@pytest.fixture(params=["journal", "sqlite"])
def url(request, tmp_path):
    return locate(None, tmp_path) if request.param == "journal" else f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def study(url):
    return Study.create(open_storage(url), "s", ["maximize"])[0]


def again(url):
    return Study.open(open_storage(url), "s")


def test_the_late_result_of_a_given_up_attempt_is_refused(study, url):
    study.enqueue(TrialRequest("a", 0))
    stopped, other = again(url), again(url)
    claim = stopped.claim({"pid": 1})
    (running,) = other.trials(TrialState.RUNNING)
    assert other.give_up(running, "lost", "silent")
    assert not stopped.heartbeat(claim, 2)
    assert not stopped.finish(claim, TrialState.COMPLETE, [1.0], {"seconds": 1})
    (trial,) = study.trials()
    assert trial.state == TrialState.FAIL
    assert "seconds" not in trial.user_attrs


def test_a_trial_that_has_just_ended_is_not_given_up(study, url):
    study.enqueue(TrialRequest("a", 0))
    worker, other = again(url), again(url)
    claim = worker.claim({})
    (running,) = other.trials(TrialState.RUNNING)
    assert worker.finish(claim, TrialState.COMPLETE, [1.0], {})
    assert not other.give_up(running, "lost", "silent")
    assert [t.value for t in study.trials(TrialState.COMPLETE)] == [1.0]


def test_of_two_asks_for_one_attempt_the_first_counts(study, url):
    for slot in ("a", "b", "a"):
        study.enqueue(TrialRequest(slot, 0))
    worker = again(url)
    claims = [worker.claim({}) for _ in range(3)]
    assert [c and c.request.point_id for c in claims] == ["a", "b", None]
    assert [t.user_attrs.get("reason") for t in study.trials()] == [None, None, "dropped"]


def test_a_point_that_is_done_is_not_run_again(study, url):
    study.enqueue(TrialRequest("a", 0))
    worker = again(url)
    worker.finish(worker.claim({}), TrialState.COMPLETE, [1.0], {})
    study.enqueue(TrialRequest("a", 0, 1))
    assert worker.claim({}) is None


def _claim_all(url, start, found):
    study = again(url)
    start.wait()
    mine = []
    while claim := study.claim({}):
        mine.append(claim.number)
        study.finish(claim, TrialState.COMPLETE, [1.0], {})
    found.put(mine)


def test_four_processes_share_trials_without_taking_one_twice(study, url):
    for number in range(24):
        study.enqueue(TrialRequest(str(number), number))
    context = multiprocessing.get_context("fork")
    start, found = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_claim_all, args=(url, start, found)) for _ in range(4)]
    for process in processes:
        process.start()
    taken = [n for _ in processes for n in found.get(timeout=60)]
    for process in processes:
        process.join()
    assert sorted(taken) == list(range(24))
    assert {t.state for t in study.trials()} == {TrialState.COMPLETE}


def test_a_study_of_another_space_is_refused_with_the_differences(study):
    raw = {"sampler": "grid", "space": {"optimizer.lr": {"choice": [0.1, 0.2]}}}
    check_identity(study, read("s", raw).identity(), allow_change=False)
    check_identity(study, read("s", raw).identity(), allow_change=False)
    wider = read("s", {**raw, "space": {"optimizer.lr": {"choice": [0.1, 0.2, 0.3]}}, "fixed": {"data": "steam"}})
    with pytest.raises(FmlabError) as error:
        check_identity(study, wider.identity(), allow_change=False)
    assert 'fixed.data: nothing in the study, "steam" now' in str(error.value)
    assert "space.optimizer.lr.choice: [0.1, 0.2] in the study, [0.1, 0.2, 0.3] now" in str(error.value)
    check_identity(study, wider.identity(), allow_change=True)
    assert study.identity()["fixed"] == {"data": "steam"}


def test_choices_may_change_when_a_study_is_extended(study, url):
    worker = again(url)
    for number, choices in enumerate(([1, 2], [1, 2, 3], [1, 2])):
        study.enqueue(TrialRequest(str(number), number))
        sweep = read("s", {"n_trials": 9, "space": {"x": {"choice": choices}}})
        worker.set_point(worker.claim({}), {"x": 2}, {"x": distribution(sweep.space.parameters[0])}, {})
    assert [t.params for t in study.trials()] == [{"x": 2}, {"x~2": 2}, {"x": 2}]


def test_trials_that_others_added_are_points_of_their_own(study, url):
    storage = open_storage(url).backend
    optuna.load_study(study_name="s", storage=storage).enqueue_trial({"x": 2})
    claim = again(url).claim({})
    assert claim.request.params == {"x": 2}
    assert request_of(study.trials()[0]).point_id == "added-0"


def test_requests_of_earlier_versions_are_read(study, url):
    storage = open_storage(url).backend
    asked = {"slot": "7", "index": 7, "attempt": 1, "params": {"x": 2}}
    optuna.load_study(study_name="s", storage=storage).enqueue_trial({"x": 2}, user_attrs={"ask": asked})
    assert request_of(study.trials()[0]) == TrialRequest("7", 7, 1, {"x": 2})
