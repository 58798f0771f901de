"""The Optuna study of a sweep: which points were requested, which process runs each, and the results.

A point is requested: one of the grid, or the n-th proposal of a sampler. Each attempt at a point is one Optuna trial,
so a late result of a given-up attempt is refused by the storage itself: that trial is over.
Trials are only created by coordinators and only started by workers, each by one atomic step of the storage. Where two
coordinators request the same attempt, the trial with the lower number counts and the other is dropped unrun.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, count
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState, create_trial

from fmlab.config.schema import Direction
from fmlab.sweep.retry import FIRST, PAUSES, Patient, patiently, wait_out
from fmlab.sweep.storage import Store

DONE = (TrialState.COMPLETE, TrialState.PRUNED)
LIVE = (TrialState.RUNNING, TrialState.WAITING)
LATER = "~"
_NEVER = object()
_FORMER = {"slot": "point_id"}  # names in studies of earlier versions
Params = dict[str, Any]


@dataclass(frozen=True)
class TrialRequest:
    """One attempt at a point.

    `point_id`: which point of the sweep it is. `params`: its values as stored; what is not given, the sampler proposes.
    `remembered`: what the sampler attached to an earlier attempt. `seeds`: metrics of the seeds that an earlier attempt
    finished. `continues`: number of the trial that an earlier attempt went on from.
    """

    point_id: str
    index: int
    attempt: int = 0
    params: Params | None = None
    remembered: Params = field(default_factory=dict)
    seeds: Params = field(default_factory=dict)
    continues: int | None = None


@dataclass(frozen=True)
class RunningTrial:
    """A running trial and the attempt it is."""

    number: int
    trial_id: int
    request: TrialRequest


def request_of(trial: FrozenTrial) -> TrialRequest:
    """The attempt that a trial is; a trial added by other means is a point of its own."""
    stored = trial.user_attrs.get("ask")
    if stored is None:
        return TrialRequest(f"added-{trial.number}", trial.number, 0, trial.system_attrs.get("fixed_params"))
    return TrialRequest(**{_FORMER.get(name, name): value for name, value in stored.items()})


def retry_of(trial: FrozenTrial) -> TrialRequest:
    """The next attempt after a given-up one, with the point and the results of seeds that this one had."""
    before, notes = request_of(trial), trial.user_attrs
    return TrialRequest(
        before.point_id,
        before.index,
        before.attempt + 1,
        notes.get("point", before.params),
        notes.get("remembered", before.remembered),
        notes.get("seeds", before.seeds),
        notes.get("continues", before.continues),
    )


def reason(trial: FrozenTrial) -> str:
    """Why a trial failed: failed, lost, interrupted, dropped, no time."""
    return str(trial.user_attrs.get("reason", "failed"))


class Study(Patient):
    """A study in a storage, by the steps a sweep needs."""

    def __init__(self, study: optuna.Study, store: Store) -> None:
        self.study, self.storage, self._exclusive = study, store.backend, store.exclusive
        self._seen: list[FrozenTrial] = []  # when the last claim was made
        self._study_id = self.storage.get_study_id_from_name(study.study_name)

    @classmethod
    def open(cls, store: Store, name: str, pruner: BasePruner | None = None) -> "Study":
        """An existing study."""

        def load() -> Study:
            sampler = optuna.samplers.RandomSampler()
            study = optuna.load_study(study_name=name, storage=store.backend, sampler=sampler, pruner=pruner)
            return cls(study, store)

        return wait_out(load, PAUSES)

    @classmethod
    def create(cls, store: Store, name: str, directions: Sequence[Direction]) -> "tuple[Study, bool]":
        """The study of that name, and whether it is new; of several processes one creates it."""

        def make() -> None:
            optuna.create_study(study_name=name, storage=store.backend, directions=list(directions))

        try:
            wait_out(make, FIRST)
        except DuplicatedStudyError:
            return cls.open(store, name), False
        return cls.open(store, name), True

    # ---------------------------------------------------------------------------------------- reading

    @patiently
    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in the given states, or all, by number; not to be changed."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def history(self, except_point: str) -> list[FrozenTrial]:
        """One trial for each other point when the last claim was made, in the order of points.

        It is the point's result, or else its last attempt.
        """
        latest: dict[str, FrozenTrial] = {}
        for trial in self._seen:
            point = request_of(trial).point_id
            kept = latest.get(point)
            if reason(trial) != "dropped" and not (kept is not None and kept.state in DONE):
                latest[point] = trial
        latest.pop(except_point, None)
        begun = [t for t in latest.values() if t.state != TrialState.WAITING or t.params]
        return sorted(begun, key=lambda t: request_of(t).index)

    @patiently
    def identity(self) -> dict[str, Any] | None:
        """What the study was opened with, None until its creator has written it."""
        text = self.study.user_attrs.get("fmlab")
        return None if text is None else json.loads(text)

    @patiently
    def set_identity(self, identity: Mapping[str, Any]) -> None:
        """Write what the study searches."""
        self.study.set_user_attr("fmlab", json.dumps(identity))

    # ---------------------------------------------------------------------------------- coordinators

    @patiently
    def enqueue(self, request: TrialRequest) -> None:
        """Add one attempt, waiting to be claimed."""
        self.study.add_trial(create_trial(state=TrialState.WAITING, user_attrs={"ask": asdict(request)}))

    def give_up(self, trial: FrozenTrial, why: str, message: str) -> bool:
        """Fail a running or waiting trial; False if it has just ended otherwise."""
        return self._end(self._id(trial.number), TrialState.FAIL, None, {"reason": why, "error": message})

    def cut(self, trial: FrozenTrial, message: str) -> bool:
        """End a running trial for good, without a value; False if it has just ended otherwise."""
        return self._end(self._id(trial.number), TrialState.PRUNED, None, {"error": message})

    # --------------------------------------------------------------------------------------- workers

    def claim(self, worker: Mapping[str, Any]) -> RunningTrial | None:
        """Start the first waiting trial; None if there is none."""
        self._seen = self.trials()
        waiting = [t for t in self._seen if t.state == TrialState.WAITING]
        for trial in sorted(waiting, key=lambda t: (request_of(t).index, t.number)):
            trial_id = self._id(trial.number)
            if not self._start(trial_id):
                continue
            if self._superfluous(trial):
                self._end(trial_id, TrialState.FAIL, None, {"reason": "dropped"})
                continue
            claim = RunningTrial(trial.number, trial_id, request_of(trial))
            self.set_attr(claim, "worker", dict(worker))
            return claim
        return None

    @patiently
    def _start(self, trial_id: int) -> bool:
        """Whether this process is the one that started the trial; one whose answer was lost is started by nobody."""
        try:
            with self._exclusive():
                return self.storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        except UpdateFinishedTrialError:
            return False

    def _superfluous(self, trial: FrozenTrial) -> bool:
        """Whether the point is done, or the same attempt was requested twice and this trial is the later."""
        mine = request_of(trial)
        for other in self._seen:
            theirs = request_of(other)
            if theirs.point_id == mine.point_id and other.number != trial.number:
                if other.state in DONE:
                    return True
                if theirs.attempt == mine.attempt and other.number < trial.number and reason(other) != "dropped":
                    return True
        return False

    @patiently
    def set_point(
        self,
        claim: RunningTrial,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        remembered: Mapping[str, Any],
    ) -> None:
        """Write the point of a running trial and what the sampler wants remembered; `point` comes when all is there."""
        for name, value in params.items():
            wanted = distributions[name]
            self.storage.set_trial_param(
                claim.trial_id, self._vacant(name, wanted), wanted.to_internal_repr(value), wanted
            )
        for key, value in remembered.items():
            self.storage.set_trial_system_attr(claim.trial_id, key, value)
        if remembered:
            self.storage.set_trial_user_attr(claim.trial_id, "remembered", dict(remembered))
        self.storage.set_trial_user_attr(claim.trial_id, "point", dict(params))

    def _vacant(self, name: str, wanted: BaseDistribution) -> str:
        """The name, or `name~2` and so on where an extended study knows it with other choices."""
        known = {n: d for t in self._seen for n, d in t.distributions.items()}
        names = chain([name], (f"{name}{LATER}{i}" for i in count(2)))
        return next(n for n in names if n not in known or _compatible(known[n], wanted))

    def heartbeat(self, claim: RunningTrial, count: int) -> bool:
        """Write that the trial's worker is alive; False if the trial was given up. A failed write is not repeated."""
        return self._set_attr(claim, "beat", count)

    @patiently
    def set_attr(self, claim: RunningTrial, key: str, value: Any) -> bool:
        """Set a user attribute of a running trial; False if it was given up."""
        return self._set_attr(claim, key, value)

    def _set_attr(self, claim: RunningTrial, key: str, value: Any) -> bool:
        try:
            self.storage.set_trial_user_attr(claim.trial_id, key, value)
        except UpdateFinishedTrialError:
            return False
        return True

    @patiently
    def report(self, claim: RunningTrial, step: int, value: float) -> bool:
        """Add an intermediate value; returns whether the trial should be pruned."""
        try:
            self.storage.set_trial_intermediate_value(claim.trial_id, step, value)
        except UpdateFinishedTrialError:
            return False
        return bool(self.study.pruner.prune(self.study, self.storage.get_trial(claim.trial_id)))

    def finish(
        self, claim: RunningTrial, state: TrialState, values: Sequence[float] | None, notes: Mapping[str, Any]
    ) -> bool:
        """End a running trial; False if it was given up, so that the result is refused."""
        return self._end(claim.trial_id, state, values, notes)

    @patiently
    def _end(self, trial_id: int, state: TrialState, values: Sequence[float] | None, notes: Mapping[str, Any]) -> bool:
        try:
            for key, value in notes.items():
                self.storage.set_trial_user_attr(trial_id, key, value)
            with self._exclusive():
                self.storage.set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError:
            return self._has_ended_so(trial_id, state, notes)
        return True

    def _has_ended_so(self, trial_id: int, state: TrialState, notes: Mapping[str, Any]) -> bool:
        """Whether the trial was ended by this very step: the server took it, and its answer was lost."""
        trial = self.storage.get_trial(trial_id)
        return trial.state == state and all(trial.user_attrs.get(k, _NEVER) == v for k, v in notes.items())

    @patiently
    def _id(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self._study_id, number)


def _compatible(a: BaseDistribution, b: BaseDistribution) -> bool:
    try:
        check_distribution_compatibility(a, b)
    except ValueError:
        return False
    return True
