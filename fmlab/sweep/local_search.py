"""Local search: the next point is one of the best, with one or a few of its options moved.

After points that did well before, a model of the whole space knows too little to propose anything as good in the few
dozen trials that a search has. What lies near the best points is nearly as good, differs from them, and is what an
ensemble is made of; FLAML's search moves so, too (Wu, Wang and Huang, AAAI 2021). A share of the points is still
proposed by TPE over the whole space.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fmlab.sweep.space import Parameter

CURVE = "local_search:curve"  # of the trial that a point was moved from: values by step
STARTUP = 8  # finished trials before the first move
_SPREAD = 0.1  # standard deviation of a move, as a share of a range
_ALIKE = 2  # points of one model, optimizer and so on among the best
_TRIES = 20  # moves that are drawn until one is new
_SLOWER = 3  # times the steps of the other trial, after which a point that is not as good is given up


class LocalSearchSampler(BaseSampler):
    """Moves one of the best points; TPE proposes until there are some, and now and then."""

    def __init__(
        self,
        *,
        n_startup_trials: int = STARTUP,
        best: int = 6,
        explore: float = 0.2,
        fixed: Sequence[str] = (),
        seed: int | None = None,
    ) -> None:
        """`n_startup_trials` complete trials come before the first move; one of the `best` points is moved.

        A share `explore` of the points is TPE's. `fixed`: options that are not moved; where a point that is tried first
        leaves one open, it has that of the best point so far. Options that others depend on are never moved. Raises
        ValueError for a number that is out of range.
        """
        if best < 1 or not 0 <= explore <= 1:
            raise ValueError(f"best must be at least 1 and explore between 0 and 1, got {best} and {explore}")
        self._startup, self._best, self._explore = n_startup_trials, best, explore
        self._fixed = self._kinds = frozenset(fixed)
        self._random = np.random.default_rng(seed)
        self._whole = TPESampler(
            n_startup_trials=n_startup_trials,
            multivariate=True,
            group=True,
            constant_liar=True,
            warn_independent_sampling=False,
            seed=seed,
        )
        self._from: FrozenTrial | None = None
        self._moved: Mapping[str, Any] = {}
        self._inherited: Mapping[str, Any] = {}

    def know(self, parameters: Sequence[Parameter]) -> None:
        """The parameters of the space, which say what others depend on."""
        deciding = {key for parameter in parameters for key in parameter.when}
        self._kinds = frozenset(p.name for p in parameters if p.key in deciding or p.key in self._fixed)
        self._fixed = frozenset(p.name for p in parameters if p.key in self._fixed)

    def reseed_rng(self) -> None:
        """Part of Optuna's contract."""
        self._random = np.random.default_rng()
        self._whole.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Choose the point that is moved, and what of it."""
        self._from, self._moved, self._inherited = None, {}, {}
        done = self._ordered(study)
        if "fixed_params" in trial.system_attrs:
            self._inherited = {} if not done else {k: v for k, v in done[0].params.items() if k in self._fixed}
        elif len(done) >= max(1, self._startup) and self._random.random() >= self._explore:
            self._from = self._origin(done)
            self._moved = self._move(self._from, [t.params for t in study.get_trials(deepcopy=False)])
            curve = {str(step): value for step, value in self._from.intermediate_values.items()}
            study._storage.set_trial_system_attr(trial._trial_id, CURVE, curve)
        self._whole.before_trial(study, trial)

    def _move(self, origin: FrozenTrial, known: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """New values of one or a few parameters, of a point that is not known, unless there seems to be none."""
        movable = {n: d for n, d in sorted(origin.distributions.items()) if n not in self._kinds and not d.single()}
        found: dict[str, Any] = {}
        for _ in range(_TRIES):
            number = min((len(movable) + 1) // 2, int(self._random.geometric(0.5)))
            names = self._random.permutation(list(movable))[:number].tolist()
            found = {name: moved(origin.params[name], movable[name], self._random) for name in names}
            if {**origin.params, **found} not in known:
                break
        return found

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """TPE's, where it proposes."""
        given = self._from is not None or "fixed_params" in trial.system_attrs
        return {} if given else self._whole.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """TPE's, where it proposes."""
        return self._whole.sample_relative(study, trial, search_space) if search_space else {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value of the point that is moved, or one beside it; TPE's for what that point does not have."""
        kept = self._inherited if self._from is None else self._from.params
        if param_name not in kept:
            return self._whole.sample_independent(study, trial, param_name, param_distribution)
        return self._moved.get(param_name, kept[param_name])

    def _ordered(self, study: Study) -> list[FrozenTrial]:
        """Complete trials, the best first; with several metrics those of the front come first."""
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        done = [t for t in done if t.values and not any(map(math.isnan, t.values)) and t.params]
        if len(study.directions) > 1:
            front = {t.number for t in study.best_trials}
            return sorted(done, key=lambda t: t.number not in front)
        sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
        return sorted(done, key=lambda t: sign * float(t.values[0]))

    def _origin(self, done: Sequence[FrozenTrial]) -> FrozenTrial:
        """One of the best points, those of few kinds not alone; a better one more often."""
        found: list[FrozenTrial] = []
        kinds: dict[tuple[Any, ...], int] = {}
        for trial in done:
            kind = tuple(trial.params.get(name) for name in sorted(self._kinds))
            if kinds.get(kind, 0) < _ALIKE and all(trial.params != other.params for other in found):
                kinds[kind] = kinds.get(kind, 0) + 1
                found.append(trial)
        weights = 1 / np.arange(1, len(found[: self._best]) + 1)
        return found[self._random.choice(len(weights), p=weights / weights.sum())]


def moved(value: Any, distribution: BaseDistribution, random: np.random.Generator) -> Any:
    """Another value of a distribution: another choice, or a number near by."""
    if isinstance(distribution, CategoricalDistribution):
        others = [c for c in distribution.choices if c != value or type(c) is not type(value)]
        return others[random.integers(len(others))] if others else value
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if low == high:
        return value
    scale, back = (math.log, math.exp) if distribution.log else (float, float)
    there = (scale(float(value)) - scale(low)) / (scale(high) - scale(low)) + random.normal(0, _SPREAD)
    there = min(1.0, max(0.0, -there if there < 0 else 2 - there if there > 1 else there))
    number = min(high, max(low, back(scale(low) + there * (scale(high) - scale(low)))))
    if distribution.step is not None:
        number = low + round((number - low) / distribution.step) * distribution.step
    if isinstance(distribution, FloatDistribution):
        return min(high, number)
    whole = round(number)
    if whole == value:
        whole += distribution.step if (random.random() < 0.5 and whole < high) or whole == low else -distribution.step
    return int(min(high, max(low, whole)))


class LocalSearchPruner(BasePruner):
    """A moved point is compared with the trial that it was moved from; `other` stops all others.

    Trials of other kinds say nothing of it after a few epochs. It is given up where it is not as good as that trial
    was after a third of the steps.
    """

    def __init__(self, other: BasePruner) -> None:
        self._other = other

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial at its last step."""
        curve: Mapping[str, float] | None = trial.system_attrs.get(CURVE)
        if not curve:
            return self._other.prune(study, trial)
        better = max if study.direction == StudyDirection.MAXIMIZE else min
        done = 1 + max(trial.intermediate_values, default=-1)  # steps are counted from 0
        before = [value for step, value in curve.items() if 1 + int(step) <= done / _SLOWER]
        own = [value for value in trial.intermediate_values.values() if not math.isnan(value)]
        if not before or not own:
            return False
        wanted = better(before)
        return better(*own, wanted) == wanted and wanted not in own
