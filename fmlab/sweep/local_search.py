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

CURVE = "local_search:curve"  # of the trial that a point was moved from: values by step
_SPREAD = 0.1  # standard deviation of a move, as a share of a range
_ALIKE = 2  # points of one model, optimizer and so on among the best
_SLOWER = 3  # times the steps of the other trial, after which a point that is not as good is given up


class LocalSearchSampler(BaseSampler):
    """Moves one of the best points; TPE proposes until there are some, and now and then."""

    def __init__(
        self,
        *,
        n_startup_trials: int = 8,
        best: int = 6,
        explore: float = 0.2,
        fixed: Sequence[str] = (),
        seed: int | None = None,
    ) -> None:
        """`n_startup_trials` complete trials come before the first move; one of the `best` points is moved.

        A share `explore` of the points is TPE's. `fixed`: parameters that are not moved; those that others depend on
        are never moved. Raises ValueError for a number that is out of range.
        """
        if best < 1 or not 0 <= explore <= 1:
            raise ValueError(f"best must be at least 1 and explore between 0 and 1, got {best} and {explore}")
        self._startup, self._best, self._explore, self._fixed = n_startup_trials, best, explore, frozenset(fixed)
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
        self._moved: frozenset[str] = frozenset()

    def reseed_rng(self) -> None:
        """Part of Optuna's contract."""
        self._random = np.random.default_rng()
        self._whole.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Choose the point that is moved, and what of it."""
        self._from, self._moved = None, frozenset()
        if "fixed_params" not in trial.system_attrs and self._random.random() >= self._explore:
            best = self._best_points(study)
            if best:
                weights = 1 / np.arange(1, len(best) + 1)
                self._from = best[self._random.choice(len(best), p=weights / weights.sum())]
                movable = [n for n, d in self._from.distributions.items() if n not in self._fixed and not d.single()]
                number = min((len(movable) + 1) // 2, int(self._random.geometric(0.5)))
                self._moved = frozenset(self._random.permutation(sorted(movable))[:number].tolist())
                curve = {str(step): value for step, value in self._from.intermediate_values.items()}
                study._storage.set_trial_system_attr(trial._trial_id, CURVE, curve)
        self._whole.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """TPE's, where it proposes."""
        return {} if self._from is not None else self._whole.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """TPE's, where it proposes."""
        return {} if self._from is not None else self._whole.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value of the point that is moved, or one beside it; TPE's for what that point does not have."""
        kept = {} if self._from is None else self._from.params
        if param_name not in kept:
            return self._whole.sample_independent(study, trial, param_name, param_distribution)
        value = kept[param_name]
        return moved(value, param_distribution, self._random) if param_name in self._moved else value

    def _best_points(self, study: Study) -> list[FrozenTrial]:
        """Points to move, the best first: few of one kind, and those of the front where there are several metrics."""
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        done = [t for t in done if t.values is not None and not any(map(math.isnan, t.values)) and t.params]
        if len(done) < max(1, self._startup):
            return []
        if len(study.directions) > 1:
            front = {t.number for t in study.best_trials}
            ordered = [t for t in done if t.number in front]
        else:
            sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
            ordered = sorted(done, key=lambda t: sign * float(t.values[0]))
        found: list[FrozenTrial] = []
        kinds: dict[tuple[Any, ...], int] = {}
        for trial in ordered:
            kind = tuple(trial.params.get(name) for name in sorted(self._fixed))
            if kinds.get(kind, 0) < _ALIKE and all(trial.params != other.params for other in found):
                kinds[kind] = kinds.get(kind, 0) + 1
                found.append(trial)
        return found[: self._best]


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
        steps = sorted(trial.intermediate_values)
        before = [value for step, value in curve.items() if int(step) <= (steps[-1] if steps else 0) / _SLOWER]
        own = [value for value in trial.intermediate_values.values() if not math.isnan(value)]
        if not before or not own:
            return False
        wanted = better(before)
        return better(*own, wanted) == wanted and wanted not in own
