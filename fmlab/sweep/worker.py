"""What a process of a sweep does: trial after trial of the study; data that are open stay open between trials."""

import gc
import logging
import math
import shlex
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fmlab.config.overrides import override
from fmlab.errors import FmlabError, StorageError
from fmlab.files import write_text
from fmlab.sweep import suggest as proposal
from fmlab.sweep.budget import FIRST, TRAINING, least, measured, seconds_of
from fmlab.sweep.heartbeat import HeartbeatThread, myself
from fmlab.sweep.local_search import STARTUP
from fmlab.sweep.messages import (
    Job,
    Objective,
    Progress,
    TrialLost,
    TrialPruned,
    TrialTooLong,
    mark_folders,
    trial_folder,
)
from fmlab.sweep.racing import GROWTH, is_first, promoted, rounds_before
from fmlab.sweep.space import Point
from fmlab.sweep.spec import read
from fmlab.sweep.storage import open_storage
from fmlab.sweep.study import RunningTrial, Study, TrialRequest
from fmlab.terminal.escaping import shown

log = logging.getLogger("fmlab")
_IDLE = (0.05, 0.5)  # seconds between looks for a waiting trial, growing while there is none


class Worker:
    """Runs trials until it is told to stop."""

    def __init__(self, job: Job, objective: Objective, tell: Callable[..., None]) -> None:
        """`tell(event, **facts)` informs the coordinator."""
        proposal.quiet()
        self.job, self.objective, self.tell = job, objective, tell
        self.sweep = read(job.name, job.raw, job.command if job.command_wins else {})
        self.study = Study.open(open_storage(job.storage), self.sweep.study, proposal.make_pruner(self.sweep))
        self.deadline, self.began = None if job.ends is None else _here(job.ends), time.monotonic()
        self.progress: Progress | None = None  # of the trial that runs
        self.stopping = self._training = self._idle = False

    def interrupt(self, *_: Any) -> None:
        """Stop: a run is interrupted now, a step of the study is finished first."""
        self.stopping = True
        if self._training:
            raise KeyboardInterrupt

    def work(self) -> None:
        """Run waiting trials until interrupted, and begin none once the time is up; raises StorageError."""
        me, pause = myself(), _IDLE[0]
        self.tell("ready")
        while not self.stopping:
            claim = self.study.claim(me) if self._has_time() else None
            if claim is None:
                time.sleep(pause)
                pause = min(2 * pause, _IDLE[1])
            else:
                self._trial(claim)
                gc.collect()
                pause = _IDLE[0]

    def limit(self, ends: float) -> None:
        """The search ends at that time, seconds since 1970."""
        self.deadline, self._idle = _here(ends), False
        if self.progress is not None and not self.progress.first:
            self.progress.deadline = self.deadline

    def _has_time(self) -> bool:
        """Whether the quickest trial so far and some training fit into the time, which counts once one is finished."""
        if self.deadline is None:
            return True
        trials = self.study.trials(TrialState.COMPLETE)
        training = TRAINING * (self.sweep.budget or 0.0)
        fits = not trials or time.monotonic() + least(trials) + training < self.deadline
        if not fits and not self._idle:
            self.tell("idle")
        self._idle = not fits
        return fits

    def _trial(self, claim: RunningTrial) -> None:
        heart = HeartbeatThread(lambda count: self.study.heartbeat(claim, count), self.sweep.settings.heartbeat)
        heart.start()
        began, folder = time.monotonic(), trial_folder(Path(self.job.folder), claim.number)
        progress = self.progress = self._progress(claim, heart)
        state, values, notes, full = TrialState.FAIL, None, dict[str, Any](), None
        point, goes_on = Point({}, {}), dict[str, int]()
        try:
            parent = self._promoted(claim, progress)
            goes_on = {} if parent is None else {"continues": parent.number}
            point = self._point(claim, parent)
            self.tell("started", number=claim.number, overrides=self._shown(point))
            self._refuse_too_long(point, progress)
            values = self._values(claim, point, folder, progress)
            state = TrialState.COMPLETE
        except TrialPruned:
            state, values = TrialState.PRUNED, progress.reported[-1:] or None
        except TrialTooLong as error:
            notes = {"reason": "no time", "error": shown(str(error))}
        except TrialLost as error:
            notes = {"reason": "lost", "error": shown(str(error))}
        except KeyboardInterrupt:
            self.stopping = True
            notes = {"reason": "interrupted", "error": "interrupted"}
        except StorageError as error:
            full = error
            notes = {"reason": "interrupted", "error": shown(str(error))}
        except (Exception, SystemExit) as error:
            # Lightning turns Ctrl-C into an exit; whatever is raised while stopping is no fault of the point.
            why = "interrupted" if self.stopping else "failed"
            notes = {"reason": why, "error": shown(f"{type(error).__name__}: {error}")[:1000]}
            if why == "failed":
                self._keep_error(folder, point)
        finally:
            self._training, self.progress = False, None
            heart.stop()
        result = {"folder": str(folder), "seconds": round(time.monotonic() - began, 3), **measured(folder)}
        accepted = self.study.finish(claim, state, values, notes | {"result": result})
        if not accepted:
            mark_folders(folder, None, "refused")
        facts: dict[str, Any] = {"state": state.name if accepted else "REFUSED", "values": values, **goes_on}
        facts["overrides"] = self._shown(point)
        self.tell("finished", number=claim.number, point_id=claim.request.point_id, **facts, **notes, **result)
        if full is not None:
            raise full

    def _progress(self, claim: RunningTrial, heart: HeartbeatThread) -> Progress:
        most = self.sweep.time_limit(claim.request.index)
        first = claim.request.index < len(self.sweep.initial_points)
        finished = self.study.trials(TrialState.COMPLETE)
        deadline = self.deadline
        if deadline is not None and not finished:  # it is waited for, and is to be more than a few steps
            deadline = max(deadline, time.monotonic() + FIRST * (self.sweep.budget or 0.0))
        return Progress(
            # Points that are tried first are of other models: after an epoch they do not compare, and have their time.
            report=lambda step, value: self.study.report(claim, step, value) and not (first and most is not None),
            given_up=heart.refused.is_set,
            deadline=deadline,
            first=not finished,
            most=most,
            prunes=self.sweep.pruner not in ("none", "wilcoxon") and len(self.sweep.directions) == 1,
            metric=self.sweep.metrics[0] if len(self.sweep.metrics) == 1 else None,
            max_parameters=self.sweep.settings.max_parameters,
            max_latency=self.sweep.settings.max_latency,
            max_bytes=self.sweep.memory_of_worker,
        )

    def _refuse_too_long(self, point: Point, progress: Progress) -> None:
        """Raises TrialTooLong for a model of which trials have taken longer than there is time."""
        if progress.deadline is None or progress.first:
            return
        trials, model = self.study.trials(TrialState.COMPLETE), point.params.get("model")
        alike = [t for t in trials if model is not None and t.params.get("model") == model]
        progress.tail = max((seconds_of(t, "judged") for t in alike or trials), default=0.0)
        quickest = least(trials, model)
        if time.monotonic() + quickest > progress.deadline:
            raise TrialTooLong(f"it takes {quickest:.0f} s at least, for which there is no time")

    def _promoted(self, claim: RunningTrial, progress: Progress) -> FrozenTrial | None:
        """The trial that this one goes on from, with more time; None for a point of its own.

        Points that are tried first have the first half of the search to themselves: where they take longer, what was
        begun and is good goes before those that are left.
        """
        request = claim.request
        early = request.index < len(self.sweep.initial_points)
        if not self.sweep.settings.racing or (early and not self._half_is_over()):
            return None
        trials, maximize = self.study.trials(), self.sweep.directions[0] == "maximize"
        parent = next((t for t in trials if t.number == request.continues), None)
        if parent is None and (request.params is None or early):
            parent = promoted(trials, maximize=maximize)
            while parent is not None:
                self.study.set_attr(claim, "continues", parent.number)
                trials = self.study.trials()
                if is_first(trials, claim.number, parent.number):
                    break
                parent = promoted(trials, maximize=maximize)
        self.study.set_attr(claim, "continues", None if parent is None else parent.number)
        if parent is not None:
            rounds = 1 + rounds_before(parent, trials)
            progress.most = None if progress.most is None else progress.most * GROWTH**rounds
            progress.prunes = False  # it was compared before
            progress.goes_on = trial_folder(Path(self.job.folder), parent.number)
            self.study.set_attr(claim, "most", progress.most)
        return parent

    def _half_is_over(self) -> bool:
        """Whether more than half of the time is over that this worker has for the search."""
        now = time.monotonic()
        return self.deadline is not None and now - self.began > self.deadline - now

    def _point(self, claim: RunningTrial, parent: FrozenTrial | None) -> Point:
        """The trial's point, written to the study before anything runs: that of `parent`, where it goes on from one."""
        request = claim.request
        given = self._given(request) if parent is None else parent.user_attrs["point"]
        try:
            point, remembered = proposal.known_point(self.sweep, given or {}), dict(request.remembered)
        except KeyError:  # not all is given
            history = self.study.history(request.point_id)
            point, remembered = proposal.propose(self.sweep, request.index, history, given)
        searched = {p.name: p for p in self.sweep.space.parameters if p.name in point.params}
        params = {name: proposal.stored(value, searched[name]) for name, value in point.params.items()}
        distributions = {name: proposal.distribution(p) for name, p in searched.items()}
        self.study.set_point(claim, params, distributions, remembered)
        return point

    def _given(self, request: TrialRequest) -> Mapping[str, Any] | None:
        """What is known of a point before it is proposed.

        Points that are tried first have the first half of the search. Where that does not suffice for them, every other
        one that is left gives way to a point of local search: near a good one more is to be found than at the last.
        """
        late = request.index < len(self.sweep.initial_points) and request.index % 2 and self._half_is_over()
        return None if late and self.sweep.sampler == "local" and self._compared() else request.params

    def _compared(self) -> bool:
        """Whether enough trials are finished for the sampler to move one of them."""
        needed = self.sweep.sampler_options.get("n_startup_trials", STARTUP)
        return len(self.study.trials(TrialState.COMPLETE)) >= needed

    def _values(self, claim: RunningTrial, point: Point, folder: Path, progress: Progress) -> list[float]:
        """The objectives: those of the one run, or their means over the seeds."""
        base = [*self.job.overrides, *self._overrides(point)]
        if not self.sweep.settings.seeds:
            return self._one(base, folder, progress)
        known: dict[str, list[float]] = {k: list(v) for k, v in claim.request.seeds.items()}
        for number, seed in enumerate(self.sweep.settings.seeds):
            if str(seed) not in known:
                known[str(seed)] = self._one([*base, f"seed={seed}"], folder / f"seed-{seed}", progress)
                self.study.set_attr(claim, "seeds", known)
            progress.prunes = False  # the curve of the first seed decides; wilcoxon compares whole seeds
            if self.sweep.pruner == "wilcoxon":
                progress.reported.append(known[str(seed)][0])
                if self.study.report(claim, number, known[str(seed)][0]):
                    raise TrialPruned(f"pruned after seed {seed}")
        runs = [known[str(s)] for s in self.sweep.settings.seeds]
        return [math.fsum(column) / len(runs) for column in zip(*runs, strict=True)]

    def _one(self, overrides: list[str], folder: Path, progress: Progress) -> list[float]:
        self._training = True
        try:
            if self.stopping:
                raise KeyboardInterrupt
            figures = self.objective(overrides, folder, progress)
        finally:
            self._training = False
        values = []
        for name in self.sweep.metrics or ("",):
            if name not in figures:
                known = ", ".join(sorted(k for k in figures if k))
                raise FmlabError(f"metric must be one of the validation, got {name!r}; choices: {known}")
            if not math.isfinite(figures[name]):
                raise FmlabError(f"the objective {name or 'value'} must be finite, got {figures[name]}")
            values.append(float(figures[name]))
        return values

    def _overrides(self, point: Point) -> list[str]:
        return [override(k, v) for k, v in point.overrides.items()]

    def _shown(self, point: Point) -> list[str]:
        keys = {p.key for p in self.sweep.space.parameters if p.name in point.params}
        return [override(k, v) for k, v in point.overrides.items() if k in keys]

    def _keep_error(self, folder: Path, point: Point) -> None:
        """The command that repeats the run, and the traceback."""
        command = shlex.join(["python", "-m", "fmlab", *self.job.overrides, *self._overrides(point)])
        write_text(folder / "error.txt", shown(f"{command}\n\n{traceback.format_exc()}"))


def _here(moment: float) -> float:
    """A time since 1970 by the clock of `time.monotonic`."""
    return time.monotonic() + moment - time.time()
