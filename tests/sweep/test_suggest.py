"""A resumed study proposes what the uninterrupted one would have."""

import random

import pytest
from optuna.trial import TrialState

from fmlab.errors import FmlabError
from fmlab.sweep import suggest as proposal
from fmlab.sweep.schedule import missing, targets
from fmlab.sweep.spec import read
from fmlab.sweep.storage import locate, open_storage
from fmlab.sweep.study import Study

proposal.quiet()
FLAT = {"x": {"float": [0.001, 1], "log": True}, "n": {"int": [1, 64]}, "h": {"choice": [[8], [8, 4], [16]]}}
NESTED = {
    "model": {"choice": ["fm", "deepfm"]},
    "h": {"choice": [[8], [8, 4]], "when": {"model": "deepfm"}},
    "lr": [{"float": [0.01, 1], "when": {"model": "fm"}}, {"const": 0.1, "when": {"model": "deepfm"}}],
}


def value(point):
    return -sum((len(str(v)) + (v if isinstance(v, int | float) else 0) - 3) ** 2 for v in point.overrides.values())


def work(sweep, folder, kill):
    """One worker, in this process; `kill(slot, moment)` says whether it dies there. Returns the points by slot."""
    study, _ = Study.create(open_storage(locate(None, folder)), sweep.study, sweep.directions)
    while True:
        trials = study.trials()
        for trial in (t for t in trials if t.state == TrialState.RUNNING):
            study.give_up(trial, "lost", "")
        for request in missing(targets(sweep), study.trials(), forgiven=frozenset(), retries=99, window=5):
            study.enqueue(request)
        claim = study.claim({})
        if claim is None:
            break
        if kill(claim.request.index, "claimed"):
            continue
        try:
            point, remembered = proposal.known_point(sweep, claim.request.params or {}), claim.request.remembered
        except KeyError:
            point, remembered = proposal.propose(
                sweep, claim.request.index, study.history(claim.request.point_id), claim.request.params
            )
        searched = {p.name: proposal.distribution(p) for p in sweep.space.parameters if p.name in point.params}
        study.set_point(claim, {k: proposal.stored(v) for k, v in point.params.items()}, searched, remembered)
        if not kill(claim.request.index, "proposed"):
            study.finish(claim, TrialState.COMPLETE, [value(point)], {})
    done = study.trials(TrialState.COMPLETE)
    return {t.user_attrs["ask"]["index"]: t.user_attrs["point"] for t in done}


@pytest.mark.parametrize(
    ("sampler", "space"),
    [
        ("random", NESTED),
        ("tpe", FLAT),
        ("tpe", NESTED),
        ({"name": "local", "n_startup_trials": 4}, FLAT),
        ({"name": "local", "n_startup_trials": 4}, NESTED),
        ({"name": "nsgaii", "population_size": 4}, FLAT),
        ("qmc", {k: FLAT[k] for k in "xn"}),
    ],
)
def test_killed_at_random_places_the_same_points_are_proposed(sampler, space, tmp_path):
    sweep = read("s", {"sampler": sampler, "n_trials": 16, "space": space})
    whole = work(sweep, tmp_path / "whole", lambda slot, moment: False)
    chance, killed = random.Random(1), set()

    def kill(slot, moment):
        if (slot, moment) in killed or chance.random() > 0.3:
            return False
        killed.add((slot, moment))
        return True

    resumed = work(sweep, tmp_path / "resumed", kill)
    assert len(killed) > 5
    assert resumed == whole
    assert len({str(p) for p in whole.values()}) > 5


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_another_seed_proposes_other_points(sampler, tmp_path):
    points = []
    for seed in (0, 1):
        sweep = read("s", {"sampler": sampler, "n_trials": 12, "seed": seed, "space": FLAT})
        points.append(work(sweep, tmp_path / str(seed), lambda slot, moment: False))
    assert points[0] != points[1]


def test_a_start_is_kept_and_the_rest_sampled():
    sweep = read("s", {"n_trials": 3, "space": FLAT, "initial_points": [{"h": [8, 4]}]})
    point, _ = proposal.propose(sweep, 0, [], proposal.starting_params(sweep, 0))
    assert point.overrides["h"] == [8, 4]
    assert 1 <= point.overrides["n"] <= 64


def test_options_of_samplers_and_pruners_are_checked():
    sweep = read("s", {"n_trials": 3, "space": FLAT, "sampler": {"name": "tpe", "n_startup": 3}})
    with pytest.raises(FmlabError, match=r"sampler\.n_startup .* did you mean 'n_startup_trials'"):
        proposal.make_sampler(sweep, 0)
    sweep = read("s", {"n_trials": 3, "space": FLAT, "pruner": {"name": "median", "warmup": 3}})
    with pytest.raises(FmlabError, match=r"pruner\.warmup"):
        proposal.make_pruner(sweep)
