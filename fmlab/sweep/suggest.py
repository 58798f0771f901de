"""The next point: Optuna's samplers, called so that a resumed study suggests what an uninterrupted one would have.

A sampler sees a copy of the study in which trials stand in the order of their points, whatever numbers retries
gave them, and it is seeded by (seed, index). Nothing of its state outlives a proposal, so nothing is lost with it.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from fmlab.config.overrides import text
from fmlab.errors import FmlabError
from fmlab.sweep.local_search import LocalSearchPruner, LocalSearchSampler
from fmlab.sweep.space import Choice, Constant, Numbers, Parameter, Point
from fmlab.sweep.spec import Sweep, check_options
from fmlab.sweep.study import DONE, LATER

_SAMPLERS: Mapping[str, type[BaseSampler]] = {
    "grid": optuna.samplers.RandomSampler,
    "random": optuna.samplers.RandomSampler,
    "tpe": optuna.samplers.TPESampler,
    "gp": optuna.samplers.GPSampler,
    "cmaes": optuna.samplers.CmaEsSampler,
    "qmc": optuna.samplers.QMCSampler,
    "nsgaii": optuna.samplers.NSGAIISampler,
    "local": LocalSearchSampler,
}
_PRUNERS: Mapping[str, type[BasePruner]] = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "halving": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "wilcoxon": optuna.pruners.WilcoxonPruner,
}
_NEEDS = {"cmaes": "cmaes", "gp": "scipy", "qmc": "scipy", "wilcoxon": "scipy"}


def quiet() -> None:
    """Optuna's notes on experimental classes and its line per trial are not ours."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for category in (optuna.exceptions.ExperimentalWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category, module="optuna")


def make_sampler(sweep: Sweep, index: int) -> BaseSampler:
    """The sweep's sampler for the `index`-th point; raises FmlabError for a wrong option or a missing package."""
    kind, options = sweep.sampler, dict(sweep.sampler_options)
    # The points of a low-discrepancy sequence belong together: one seed for all.
    seed = sweep.settings.seed if kind == "qmc" else _seed(sweep.settings.seed, index)
    if kind == "tpe":
        options = {
            "multivariate": True,
            "group": True,
            "constant_liar": True,
            "warn_independent_sampling": False,
        } | options
    if kind in ("gp", "cmaes", "qmc"):
        options = {"warn_independent_sampling": False} | options
    if kind == "qmc":
        options = {"scramble": True, "warn_asynchronous_seeding": False} | options
    made = _make("sampler", kind, _SAMPLERS[kind], {**options, "seed": seed}, options)
    if isinstance(made, LocalSearchSampler):
        made.know(sweep.space.parameters)
    assert isinstance(made, BaseSampler)
    return made


def make_pruner(sweep: Sweep) -> BasePruner:
    """The sweep's pruner; raises FmlabError for a wrong option or a missing package."""
    options = sweep.pruner_options
    made = _make("pruner", sweep.pruner, _PRUNERS[sweep.pruner], options, options)
    assert isinstance(made, BasePruner)
    return LocalSearchPruner(made) if sweep.sampler == "local" else made


def _make(kind: str, name: str, constructor: Any, arguments: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    check_options(kind, name, constructor, options)
    if name in _NEEDS:
        try:
            __import__(_NEEDS[name])
        except ImportError:
            raise FmlabError(f"{kind} {name} needs the package {_NEEDS[name]}: pip install {_NEEDS[name]}") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return constructor(**arguments)
        except (TypeError, ValueError) as error:
            raise FmlabError(f"{kind} {name}: {error}") from error


def _seed(seed: int, index: int) -> int:
    return int(np.random.SeedSequence((seed, index)).generate_state(1)[0])


def distribution(parameter: Parameter) -> BaseDistribution:
    """Optuna's form of a domain; lists are chosen by their text."""
    domain = parameter.domain
    if isinstance(domain, Choice):
        return CategoricalDistribution([stored(v, parameter) for v in domain.values])
    assert isinstance(domain, Numbers)
    if domain.whole:
        return IntDistribution(int(domain.low), int(domain.last), log=domain.log, step=int(domain.step or 1))
    return FloatDistribution(domain.low, domain.last, log=domain.log, step=domain.step)


def stored(value: Any, parameter: Parameter | None = None) -> Any:
    """A value of a parameter as Optuna can store it, and tell it from the other choices."""
    mixed = parameter is not None and isinstance(parameter.domain, Choice) and parameter.domain.mixed
    return text(value) if mixed or isinstance(value, list) else value


def restored(parameter: Parameter, value: Any) -> Any:
    """Inverse of `stored`."""
    domain = parameter.domain
    if isinstance(domain, Choice):
        return next((v for v in domain.values if (domain.mixed or isinstance(v, list)) and text(v) == value), value)
    return value


def known_point(sweep: Sweep, params: Mapping[str, Any]) -> Point:
    """The point that stored values stand for."""
    return sweep.space.walk(lambda p: restored(p, params[p.name]))


def propose(
    sweep: Sweep, index: int, history: Sequence[FrozenTrial], start: Mapping[str, Any] | None = None
) -> tuple[Point, dict[str, Any]]:
    """The `index`-th point, and what the sampler wants remembered with it.

    `history`: earlier trials in the order of their points; those still running count as well.
    `start`: stored values that are given; what it leaves open is sampled.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(
            study_name=sweep.study,
            directions=list(sweep.directions),
            sampler=make_sampler(sweep, index),
            pruner=make_pruner(sweep),
        )
        if sweep.sampler in ("tpe", "gp", "cmaes", "nsgaii", "local"):
            study.add_trials([t for t in (_as_of_now(sweep, t) for t in history) if t is not None])
        elif sweep.sampler == "qmc":
            for _ in range(index):
                study.tell(_ask(sweep, study)[0], [0.0] * len(sweep.directions))
        if start:
            study.enqueue_trial(dict(start))
        trial, point = _ask(sweep, study)
        return point, study.get_trials(deepcopy=False)[trial.number].system_attrs


def starting_params(sweep: Sweep, index: int) -> dict[str, Any] | None:
    """The sweep's own wish for its `index`-th proposal, as stored."""
    if index >= len(sweep.initial_points):
        return None
    wanted = sweep.initial_points[index]
    return {p.name: stored(wanted[p.key], p) for p in sweep.space.parameters if p.key in wanted}


def _ask(sweep: Sweep, study: optuna.Study) -> tuple[Trial, Point]:
    trial = study.ask()
    return trial, sweep.space.walk(lambda p: restored(p, _suggest(trial, p)))


def _suggest(trial: Trial, parameter: Parameter) -> Any:
    domain = parameter.domain
    if isinstance(domain, Choice):
        return trial.suggest_categorical(parameter.name, [stored(v, parameter) for v in domain.values])
    assert isinstance(domain, Numbers)
    if domain.whole:
        low, high, step = int(domain.low), int(domain.last), int(domain.step or 1)
        return trial.suggest_int(parameter.name, low, high, step=step, log=domain.log)
    return trial.suggest_float(parameter.name, domain.low, domain.last, step=domain.step, log=domain.log)


def _as_of_now(sweep: Sweep, trial: FrozenTrial) -> FrozenTrial | None:
    """A copy without number and dates, in terms of today's space; None if its point is outside of an extended one."""
    known = {p.name: distribution(p) for p in sweep.space.parameters if not isinstance(p.domain, Constant)}
    params = {name.partition(LATER)[0]: value for name, value in trial.params.items()}
    state = TrialState.FAIL if trial.state == TrialState.WAITING else trial.state
    try:
        return create_trial(
            state=state,
            values=trial.values if state in DONE else None,
            params=params,
            distributions={name: known[name] for name in params},
            system_attrs={k: v for k, v in trial.system_attrs.items() if k != "fixed_params"},
            intermediate_values=trial.intermediate_values,
        )
    except (KeyError, ValueError):
        return None
