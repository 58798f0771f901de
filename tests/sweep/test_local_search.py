"""Local search moves the best points, in a few options, and compares what it moved with where it came from."""

from collections import Counter

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import NopPruner
from optuna.trial import TrialState, create_trial

from fmlab.errors import FmlabError
from fmlab.sweep import suggest
from fmlab.sweep.local_search import CURVE, LocalSearchPruner, moved
from fmlab.sweep.spec import read

suggest.quiet()
SPACE = {
    "model": {"choice": ["fm", "deepfm"]},
    "hidden": {"choice": [[8], [8, 4], [16]], "when": {"model": "deepfm"}},
    "lr": {"float": [0.001, 1], "log": True},
    "dim": {"int": [4, 64], "log": True},
    "statistics": {"choice": ["auto", "none"]},
}
LOCAL = {"name": "local", "n_startup_trials": 4, "explore": 0.0, "fixed": ["statistics"]}


def a_sweep(sampler: object = LOCAL, **more: object):
    return read("s", {"sampler": sampler, "n_trials": 100, "space": SPACE, "direction": "minimize", **more})


def a_trial(sweep, value: float, curve: dict[int, float] | None = None, **params: object):
    point = suggest.known_point(sweep, params)
    given = {p.name: suggest.distribution(p) for p in sweep.space.parameters if p.name in point.params}
    return create_trial(value=value, params=params, distributions=given, intermediate_values=curve or {})


def history(sweep):
    one = {"model": "fm", "lr": 0.01, "dim": 8, "statistics": "auto"}
    two = {"model": "deepfm", "hidden": "[8,4]", "lr": 0.1, "dim": 16, "statistics": "none"}
    return [
        a_trial(sweep, 0.2, {0: 0.5, 3: 0.3}, **one),
        a_trial(sweep, 0.9, **{**one, "lr": 0.9}),
        a_trial(sweep, 0.1, {0: 0.6, 3: 0.2}, **two),
        a_trial(sweep, 0.8, **{**two, "lr": 0.9}),
        a_trial(sweep, 0.15, **{**two, "dim": 17}),
        a_trial(sweep, 0.16, **{**two, "dim": 18}),  # the third of its kind
    ]


def test_a_proposal_is_one_of_the_best_points_in_which_little_is_moved():
    sweep = a_sweep()
    before = history(sweep)
    origins, changes = Counter(), Counter()
    for index in range(10, 210):
        point, remembered = suggest.propose(sweep, index, before)
        params = {
            k: suggest.stored(v, p) for p in sweep.space.parameters for k, v in point.params.items() if k == p.name
        }
        kind = [t for t in before if t.params["model"] == params["model"]]
        assert params["statistics"] == kind[0].params["statistics"]
        assert set(params) == set(kind[0].params)
        near = min(kind, key=lambda t: sum(t.params[k] != v for k, v in params.items()))
        moved_names = [k for k, v in params.items() if near.params[k] != v]
        changes[len(moved_names)] += 1
        origins[params["model"]] += 1
        assert all(isinstance(v, float) for v in remembered[CURVE].values())
    assert min(origins.values()) > 40  # both kinds, though the best two are of one
    assert changes[1] > 60
    assert max(changes) <= 3  # 0: what was moved is one of the others


@pytest.mark.parametrize(("direction", "best"), [("minimize", 0.1), ("maximize", 0.9)])
def test_the_best_are_those_of_the_direction(direction, best):
    space = {name: {"float": [0, 1]} for name in "abcdef"}
    local = {"name": "local", "n_startup_trials": 2, "explore": 0, "best": 1}
    sweep = read("s", {"sampler": local, "n_trials": 9, "space": space, "direction": direction})
    given = {p.name: suggest.distribution(p) for p in sweep.space.parameters}
    before = [
        create_trial(value=number, params=dict.fromkeys(space, number), distributions=given)
        for number in (0.5, 0.1, 0.9)
    ]
    for index in range(20):
        found = Counter(suggest.propose(sweep, index, before)[0].params.values())
        assert found[best] >= 3


def test_too_few_trials_are_no_ground_to_move_from():
    sweep = a_sweep()
    _, remembered = suggest.propose(sweep, 10, history(sweep)[:3])
    assert CURVE not in remembered


def test_a_share_of_the_points_is_of_the_whole_space():
    sweep = a_sweep({**LOCAL, "explore": 0.5})
    before = history(sweep)
    explored = [CURVE not in suggest.propose(sweep, index, before)[1] for index in range(100)]
    assert 30 < sum(explored) < 70


def test_with_several_metrics_points_of_the_front_are_moved():
    space = {name: {"float": [0, 1]} for name in "abcdef"}
    raw = {"sampler": {"name": "local", "n_startup_trials": 2, "explore": 0}, "n_trials": 9, "space": space}
    sweep = read("s", {**raw, "metric": ["auc", "parameters"], "direction": ["maximize", "minimize"]})
    given = {p.name: suggest.distribution(p) for p in sweep.space.parameters}
    before = [
        create_trial(values=values, params=dict.fromkeys(space, number), distributions=given)
        for values, number in (([0.6, 200.0], 0.5), ([0.9, 100.0], 0.1), ([0.7, 10.0], 0.9))
    ]
    origins = Counter()
    for index in range(50):
        found = Counter(suggest.propose(sweep, index, before)[0].params.values())
        origins[max(found, key=lambda value: (value in (0.1, 0.9, 0.5), found[value]))] += 1
    assert set(origins) == {0.1, 0.9}


@pytest.mark.parametrize(
    ("value", "distribution"),
    [
        (0.01, FloatDistribution(0.001, 1, log=True)),
        (1.0, FloatDistribution(0.001, 1, log=True)),
        (0.25, FloatDistribution(0.0, 1.0, step=0.25)),
        (4, IntDistribution(4, 64, log=True)),
        (64, IntDistribution(4, 64, log=True)),
        (3, IntDistribution(1, 9, step=2)),
        (2, IntDistribution(1, 3)),
    ],
)
def test_a_moved_number_stays_in_its_range_and_near(value, distribution):
    random = np.random.default_rng(0)
    found = [moved(value, distribution, random) for _ in range(500)]
    assert all(type(v) is type(value) and distribution._contains(distribution.to_internal_repr(v)) for v in found)
    if isinstance(distribution, IntDistribution):
        assert value not in found
    if distribution.log:
        assert np.std(np.log(found)) < 0.2 * np.log(distribution.high / distribution.low)


def test_a_moved_choice_is_another_one():
    random = np.random.default_rng(0)
    found = {moved("b", CategoricalDistribution(["a", "b", "c"]), random) for _ in range(50)}
    assert found == {"a", "c"}
    assert moved("a", CategoricalDistribution(["a"]), random) == "a"


def test_a_moved_point_is_given_up_where_it_needs_three_times_the_steps():
    study = optuna.create_study(direction="minimize")
    pruner = LocalSearchPruner(NopPruner())

    def stops(curve: dict[int, float], attrs: dict[str, object]) -> bool:
        trial = create_trial(state=TrialState.RUNNING, intermediate_values=curve, system_attrs=attrs)
        return pruner.prune(study, trial)

    came_from = {CURVE: {"0": 0.5, "2": 0.3, "8": 0.1}}  # steps are counted from 0
    assert not stops({0: 0.9, 1: 0.9}, came_from)  # nothing to compare with yet
    assert not stops({2: 0.49}, came_from)
    assert stops({2: 0.51}, came_from)
    assert not stops({2: 0.4, 8: 0.29}, came_from)
    assert stops({2: 0.4, 8: 0.31}, came_from)
    assert not stops({2: 0.4, 7: 0.31}, came_from)  # that of the third step counts from the ninth on
    assert not stops({8: 5.0}, {})  # another pruner's


def test_no_point_is_proposed_again_while_there_are_others():
    space = {"model": {"choice": ["fm"]}, "a": {"choice": [1, 2, 3]}, "b": {"choice": [1, 2, 3]}}
    raw = {"sampler": {"name": "local", "n_startup_trials": 1, "explore": 0}, "n_trials": 9, "space": space}
    sweep = read("s", {**raw, "direction": "minimize"})
    given = {p.name: suggest.distribution(p) for p in sweep.space.parameters}
    done = []
    for index in range(5):  # all that one move reaches
        params = {"model": "fm", "a": 1, "b": 1} if not done else suggest.propose(sweep, index, done)[0].params
        assert params not in [t.params for t in done]
        done.append(create_trial(value=float(params["a"] + params["b"]), params=params, distributions=given))


def test_options_out_of_range_are_refused():
    with pytest.raises(FmlabError, match="sampler local: best must be at least 1"):
        suggest.make_sampler(a_sweep({"name": "local", "best": 0}), 0)


def test_what_a_first_point_leaves_open_of_the_fixed_is_that_of_the_best_point_so_far():
    sweep = a_sweep()
    start = {"model": "fm", "lr": 0.5, "dim": 4}
    for done, wanted in ((history(sweep), "none"), (history(sweep)[:2], "auto")):
        found = [suggest.propose(sweep, index, done, start) for index in range(20)]
        assert all(point.params == {**start, "statistics": wanted} for point, _ in found)
        assert all(CURVE not in remembered for _, remembered in found)
    before = {suggest.propose(sweep, index, [], start)[0].params["statistics"] for index in range(20)}
    assert before == {"auto", "none"}
