"""Values of a choice that look alike are told apart, and a range says where it ends."""

import pytest
from optuna.trial import TrialState
from sweeping import conduct, runs, trials_of

from fmlab.config.overrides import override
from fmlab.errors import FmlabError
from fmlab.sweep import suggest as proposal
from fmlab.sweep.model_domains import inside, with_default
from fmlab.sweep.schedule import targets
from fmlab.sweep.space_config import parse
from fmlab.sweep.spec import read

ALIKE = [
    [True, 1],
    [1, True],
    [False, 0],
    [1, 1.0],
    [1.0, 1, True],
    ["1", 1],
    [None, "null"],
    ["true", True],
    [[1, 2], "[1,2]"],
    [[1], [True], [1.0]],
    [0.0, -0.0, 0],
    ["1.0", 1.0, "1"],
]


@pytest.mark.parametrize("choice", ALIKE, ids=repr)
@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_each_choice_is_stored_and_run_as_it_is_written(choice, sampler):
    raw = {"space": {"x": {"choice": choice}}, "sampler": sampler} | ({} if sampler == "grid" else {"n_trials": 60})
    sweep = read("s", raw)
    (parameter,) = sweep.space.parameters
    wanted = [override("x", v) for v in choice]
    kept = [proposal.stored(v, parameter) for v in choice]
    distribution = proposal.distribution(parameter)
    assert [distribution.to_internal_repr(v) for v in kept] == list(range(len(choice)))
    back = [distribution.to_external_repr(n) for n in range(len(choice))]
    assert [override("x", proposal.restored(parameter, v)) for v in back] == wanted
    if sampler == "grid":
        assert [override("x", proposal.restored(parameter, a.params["x"])) for a in targets(sweep)] == wanted
        assert len({a.point_id for a in targets(sweep)}) == len(choice)
    else:
        points = [proposal.propose(sweep, n, [])[0] for n in range(60)]
        assert {override("x", p.overrides["x"]) for p in points} == set(wanted)
        starts = [proposal.propose(sweep, 0, [], {"x": v})[0].overrides["x"] for v in kept]
        assert [override("x", v) for v in starts] == wanted


def test_a_sweep_runs_what_it_stores(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", __file__.rpartition("/")[0])
    raw = {"sampler": "grid", "fixed": {"x": 2}, "space": {"flag": {"choice": [True, 1, 1.0, "1"]}}}
    conduct(tmp_path, raw, workers=1)
    assert [line.split()[-1] for line in runs(tmp_path)] == ["flag=true", "flag=1", "flag=1.0", "flag='1'"]
    trials = trials_of(tmp_path, raw)
    assert [t.params["flag"] for t in trials] == ["true", "1", "1.0", "'1'"]
    assert {t.state for t in trials} == {TrialState.COMPLETE}


@pytest.mark.parametrize("same", [[1, 1], [True, True], ["a", "a"], [None, None], [[1], [1]], [0.1, 1e-1]])
def test_what_is_written_alike_is_still_a_repetition(same):
    with pytest.raises(FmlabError, match="must not repeat"):
        parse({"x": {"choice": same}}, {})


def test_conditions_tell_them_apart_too():
    space = parse({"x": {"choice": [True, 1, 2]}, "y": {"const": 5, "when": {"x": 1}}}, {})
    assert [("y" in p.overrides) for p in space.grid()] == [False, True, False]
    # A number is the same number where nothing else is meant.
    for domain, wanted in (({"choice": [8, 16]}, 8.0), ({"int": [8, 9]}, 8.0), ({"float": [8, 9], "step": 1}, 8)):
        space = parse({"x": domain, "y": {"const": 5, "when": {"x": [wanted]}}}, {})
        assert [("y" in p.overrides) for p in space.grid()] == [True, False]
    assert [p.overrides for p in parse({"y": {"choice": [5], "when": {"x": 8.0}}}, {"x": 8}).grid()] == [{"y": 5}]
    assert [p.overrides for p in parse({"y": {"choice": [5], "when": {"x": 1}}}, {"x": True}).grid()] == [{}]


@pytest.mark.parametrize(
    ("domain", "last"),
    [
        ({"int": [4, 15], "step": 4}, 12),
        ({"int": [4, 16], "step": 4}, 16),
        ({"int": [1, 100], "step": 7}, 99),
        ({"int": [0, 3], "step": 5}, 0),
        ({"int": [-5, 6], "step": 3}, 4),
        ({"float": [0, 1], "step": 0.3}, 0.9),
        ({"float": [0, 0.3], "step": 0.1}, 0.3),
        ({"float": [0.1, 1.0], "step": 0.2}, 0.9),
        ({"int": [3, 9]}, 9),
        ({"float": [0.1, 0.5]}, 0.5),
    ],
)
def test_a_range_whose_end_is_never_reached_says_so(domain, last):
    space = parse({"x": domain}, {})
    (parameter,), (_, end) = space.parameters, next(v for k, v in domain.items() if k in ("int", "float"))
    assert parameter.domain.last == last
    assert proposal.distribution(parameter).high == last
    assert bool(space.unreached()) == (last != end)
    if last != end:
        rest = f"{end:g} is never reached"
        assert space.unreached() == [
            f"space.x: the range [{domain.get('int', domain.get('float'))[0]:g}, {end:g}] with step "
            f"{domain['step']:g} ends at {last:g}; {rest}"
        ]


def test_a_models_own_default_is_no_other_value():
    assert with_default({"choice": [1, 2]}, True) == {"choice": [1, 2, True]}
    assert with_default({"choice": [[1]]}, (1,)) == {"choice": [[1]]}
    assert inside({"choice": [1, 2]}, True) is None
    assert inside({"choice": [True, 1]}, 1) == 1
