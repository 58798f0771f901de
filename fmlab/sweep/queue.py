"""What a coordinator does to the study: it enqueues points, fails trials of dead workers, and tells when it is done."""

import logging
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fmlab.sweep.compatibility import check_identity
from fmlab.sweep.heartbeat import LivenessMonitor
from fmlab.sweep.messages import mark_folders, trial_folder
from fmlab.sweep.schedule import missing, targets, unfinished
from fmlab.sweep.spec import Sweep
from fmlab.sweep.study import Study, TrialRequest, reason, request_of

log = logging.getLogger("fmlab")
_JOIN = 5.0  # seconds a joiner waits for the study's creator to write what it searches
_AHEAD = 50  # points that the study's creator keeps waiting


class TrialQueue:
    """The waiting trials of one sweep in its study."""

    def __init__(self, sweep: Sweep, study: Study, folder: Path, *, creator: bool, workers: int) -> None:
        """`folder`: of the sweep. `creator`: the study is new; only one of several coordinators has that."""
        self.sweep, self.study, self.folder, self.creator = sweep, study, folder, creator
        self._wanted = None if sweep.total is None else list(targets(sweep))
        # The creator enqueues many points; others enqueue only when few are left, so that two rarely do so at once.
        self._window = _AHEAD if creator and self._wanted is not None else 2 * workers
        self._watch = LivenessMonitor(sweep.settings.heartbeat)
        self._forgiven: frozenset[int] = frozenset()

    def open(self) -> None:
        """Compare the study's space with the sweep's, fail trials of dead workers, enqueue the first points.

        Raises FmlabError if the study searches something else.
        """
        if not self.creator:
            until = time.monotonic() + _JOIN
            while self.study.identity() is None and time.monotonic() < until:
                time.sleep(0.05)
            check_identity(self.study, self.sweep.identity(), allow_change=self.sweep.settings.allow_space_change)
            self._drop_unwanted()
        self.expire(self.study.trials())
        failed = self.study.trials(TrialState.FAIL)
        for trial in failed:
            self._mark_runs(trial, reason(trial))
        self._forgiven = frozenset(t.number for t in failed)
        self.enqueue_missing(self.study.trials())
        if self.creator:  # joiners wait for this line, and then find the queue filled
            check_identity(self.study, self.sweep.identity(), allow_change=False)

    def _drop_unwanted(self) -> None:
        """Waiting points of the space before it was extended."""
        if self.sweep.settings.allow_space_change and self._wanted is not None:
            points = {a.point_id for a in self._wanted}
            for trial in self.study.trials(TrialState.WAITING):
                if request_of(trial).point_id not in points:
                    self.study.give_up(trial, "dropped", "not in the extended space")

    def expire(self, trials: Sequence[FrozenTrial]) -> None:
        """Fail the trials of lost workers."""
        running = [t for t in trials if t.state == TrialState.RUNNING]
        for trial in self._watch.lost(running, self.study.away()):
            if self.study.give_up(trial, "lost", "its worker died or sent no heartbeat"):
                self._mark_runs(trial, "lost")
                log.warning(f"trial {trial.number}: its worker is lost, another worker runs the point")

    def release(self, pids: Iterable[int], host: str) -> None:
        """Fail the running trials of stopped workers of this coordinator, so that their points are run again."""
        held = set(pids)
        for trial in self.study.trials(TrialState.RUNNING):
            worker = trial.user_attrs.get("worker", {})
            mine = worker.get("host") == host and worker.get("pid") in held
            if mine and self.study.give_up(trial, "interrupted", "interrupted"):
                self._mark_runs(trial, "interrupted")

    def _mark_runs(self, trial: FrozenTrial, why: str) -> None:
        """Mark the run folders of a failed trial: a run whose result is not in the study does not count.

        Runs of seeds whose figures are in the study count: the next attempt takes these figures.
        """
        if why in ("lost", "interrupted"):
            finished = {f"seed-{s}" for s in trial.user_attrs.get("seeds", {})}
            mark_folders(trial_folder(self.folder, trial.number), ("running", "complete"), why, kept=finished)

    def enqueue_missing(self, trials: Sequence[FrozenTrial]) -> None:
        """Enqueue the points that are missing."""
        for request in self._missing(trials, self._window):
            self.study.enqueue(request)

    def done(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether every point has a result; never for a sweep that only its budget ends."""
        if self._wanted is None:
            return False
        return not unfinished(self._wanted, trials) and not self._missing(trials, math.inf)

    def _missing(self, trials: Sequence[FrozenTrial], window: float) -> list[TrialRequest]:
        wanted: Any = targets(self.sweep) if self._wanted is None else self._wanted
        retries = self.sweep.settings.retries
        return missing(wanted, trials, forgiven=self._forgiven, retries=retries, window=window)
