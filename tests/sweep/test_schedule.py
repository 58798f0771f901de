from itertools import islice

from optuna.trial import TrialState, create_trial

from fmlab.sweep.heartbeat import SILENT_BEATS, LivenessMonitor, condition, myself
from fmlab.sweep.schedule import missing, targets
from fmlab.sweep.spec import read
from fmlab.sweep.study import TrialRequest

GRID = read("g", {"sampler": "grid", "space": {"x": {"choice": [1, 2, 3]}}})


def trial(number, slot, state, attempt=0, **notes):
    made = create_trial(
        state=state,
        value=1.0 if state == TrialState.COMPLETE else None,
        user_attrs={"ask": vars(TrialRequest(slot, 0, attempt)), **notes},
    )
    made.number = number
    return made


def asked(trials, forgiven=(), retries=3, window=9):
    found = missing(targets(GRID), trials, forgiven=frozenset(forgiven), retries=retries, window=window)
    return [(a.point_id, a.attempt) for a in found]


ONE, TWO, THREE = (f'{{"x": {n}}}' for n in (1, 2, 3))


def test_only_points_that_are_not_there_are_asked_for():
    states = (TrialState.COMPLETE, TrialState.RUNNING)
    assert asked([trial(i, s, state) for i, (s, state) in enumerate(zip((ONE, THREE), states, strict=True))]) == [
        (TWO, 0)
    ]


def test_a_failed_point_counts_as_visited_only_in_the_sweep_that_saw_it_fail():
    trials = [trial(0, ONE, TrialState.FAIL, reason="failed")]
    assert asked(trials) == [(TWO, 0), (THREE, 0)]
    assert asked(trials, forgiven=[0]) == [(ONE, 1), (TWO, 0), (THREE, 0)]


def test_a_lost_point_is_tried_again_so_many_times():
    lost = [trial(i, ONE, TrialState.FAIL, attempt=i, reason="lost") for i in range(4)]
    assert (ONE, 3) in asked(lost[:3], retries=3)
    assert (ONE, 4) not in asked(lost, retries=3)
    assert (ONE, 4) in asked(lost, retries=3, forgiven=[0])


def test_an_interrupted_point_is_always_asked_for_again():
    trials = [trial(i, ONE, TrialState.FAIL, attempt=i, reason="interrupted") for i in range(9)]
    assert (ONE, 9) in asked(trials, retries=0)


def test_a_dropped_duplicate_is_no_attempt():
    trials = [trial(0, ONE, TrialState.COMPLETE), trial(1, ONE, TrialState.FAIL, reason="dropped")]
    assert (ONE, 0) not in asked(trials)
    assert not [a for a in asked(trials, forgiven=[1]) if a[0] == ONE]


def test_a_retry_takes_the_settled_point_and_the_finished_seeds_with_it():
    sweep = read("r", {"sampler": "random", "n_trials": 1, "space": {"x": {"float": [0, 1]}}})
    notes = {"reason": "lost", "point": {"x": 0.25}, "seeds": {"0": [1.5]}, "remembered": {"k": 1}}
    (ask,) = missing(
        targets(sweep), [trial(0, "0", TrialState.FAIL, **notes)], forgiven=frozenset(), retries=3, window=9
    )
    assert (ask.params, ask.seeds, ask.remembered, ask.attempt) == ({"x": 0.25}, {"0": [1.5]}, {"k": 1}, 1)


def test_no_more_wait_than_the_window_holds():
    endless = read("b", {"sampler": "random", "budget": "1h", "space": {"x": {"float": [0, 1]}}})
    waiting = [trial(i, str(i), TrialState.WAITING) for i in range(3)]
    found = missing(targets(endless), waiting, forgiven=frozenset(), retries=3, window=5)
    assert [a.point_id for a in found] == ["3", "4"]


def test_the_papers_defaults_come_first():
    first = [{"x": 0.5}]
    sweep = read("b", {"sampler": "random", "n_trials": 3, "initial_points": first, "space": {"x": {"float": [0, 1]}}})
    assert [a.params for a in islice(targets(sweep), 3)] == [{"x": 0.5}, None, None]


def running(beat, worker=None):
    return trial(0, ONE, TrialState.RUNNING, beat=beat, worker=worker or {"host": "elsewhere", "pid": 1, "born": "1"})


def test_a_worker_is_lost_when_its_heart_stands_still_by_our_own_clock():
    now = [100.0]
    watch = LivenessMonitor(2.0, clock=lambda: now[0])
    assert watch.lost([running(1)]) == []
    now[0] += 2 * SILENT_BEATS
    assert watch.lost([running(2)]) == []  # beaten in the meantime
    now[0] += 2 * SILENT_BEATS - 0.1
    assert watch.lost([running(2)]) == []
    now[0] += 0.2
    assert [t.number for t in watch.lost([running(2)])] == [0]


def test_a_worker_of_this_host_is_known_to_be_dead_at_once():
    me = myself()
    assert condition(me) == "alive"
    assert condition({**me, "born": "1"}) == "dead"  # its number now belongs to another process
    assert condition({**me, "pid": 2**22 - 3, "born": "1"}) == "dead"
    assert condition({**me, "host": "elsewhere"}) == condition(None) == "unknown"
    now = [100.0]
    watch = LivenessMonitor(2.0, clock=lambda: now[0])
    assert watch.lost([running(1, me)]) == []
    now[0] += 1000
    assert watch.lost([running(1, me)]) == []  # silent, but seen to live
    assert watch.lost([running(1, {**me, "born": "1"})])
