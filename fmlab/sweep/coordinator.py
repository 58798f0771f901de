"""One invocation of a sweep: workers are started and watched until every point is done or the budget is spent."""

import logging
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fmlab.automl.scores import drop_losers, kept_by, kept_bytes
from fmlab.errors import FmlabError, StorageError
from fmlab.sweep import suggest as proposal
from fmlab.sweep.budget import Budget, reserve
from fmlab.sweep.heartbeat import myself
from fmlab.sweep.messages import Job, SweepFailed, mark_folders, trial_folder
from fmlab.sweep.queue import TrialQueue
from fmlab.sweep.spec import Sweep
from fmlab.sweep.storage import open_storage
from fmlab.sweep.study import Study, request_of
from fmlab.sweep.summary import ProgressLog
from fmlab.sweep.worker_pool import Event, WorkerPool

log = logging.getLogger("fmlab")
_POLL = 0.5  # seconds between reads of the study when no event comes
_ALIKE = 3  # first trials that may fail with one message before the sweep is stopped
_STOP = 10.0  # seconds a worker may take to stop
_LAST_FIGURES = 10.0  # seconds that a trial may take beyond its limit
_OVERDUE = 3.0  # times what a trial may train, after which one that cannot be cut is ended,
_OVERDUE_SHARE = 0.35  # and the share of the budget that it has at least
_MAX_DEATHS = 3  # workers that may die one after the other without having started a trial


class Coordinator:
    """Starts and watches the workers of one sweep."""

    def __init__(self, sweep: Sweep, job: Job, *, workers: int, budget: Budget | None = None) -> None:
        """`job` as the workers get it; `budget` is that of the sweep unless its clock runs already.

        Raises StorageError if the storage cannot be opened.
        """
        proposal.quiet()
        proposal.make_sampler(sweep, 0)
        proposal.make_pruner(sweep)
        self.sweep, self.job, self.workers = sweep, job, workers
        self.study, creator = Study.create(open_storage(job.storage), sweep.study, sweep.directions)
        self.queue = TrialQueue(sweep, self.study, Path(job.folder), creator=creator, workers=workers)
        self.pool, self.log = WorkerPool(job), ProgressLog(sweep, job.storage)
        self.budget = budget or Budget(sweep.budget)
        self._limit: float | None = None  # of time.monotonic: the end of the search, as workers were told
        self._waits = False
        self._deaths = 0
        self._ended: list[Event] = []

    def run(self) -> None:
        """Work until every point has a result or the budget is spent; no worker is left running, whatever happens.

        Raises SweepFailed if trials failed, FmlabError or StorageError if it cannot go on, KeyboardInterrupt.
        """
        self.queue.open()
        self.log.open(self.study.trials(), self.workers, self.job.threads)
        with _terminable():
            try:
                while not self._is_done(trials := self.study.trials()):
                    self._step(trials)
            finally:
                for event in self.pool.stop(self.budget.patience(_STOP)):
                    if event["event"] == "finished":
                        self.log.ended(event)
                self.queue.release(self.pool.pids, myself()["host"])
                failed = self.log.close(self.study.trials(), Path(self.job.folder))
        if self.pool.interrupted:  # nothing comes after this sweep either
            raise KeyboardInterrupt
        if failed:
            raise SweepFailed(f"{failed} points of sweep {self.sweep.name} failed; the same command tries them again")

    def _step(self, trials: list[FrozenTrial]) -> None:
        self.queue.expire(trials)
        if not self._time_is_over(trials):
            left = self._time_left(trials)
            self.queue.enqueue_missing(trials)
            self.pool.start(self._size(trials), left)
        self._cut_overdue(trials)
        for event in self.pool.poll(_POLL):
            self._handle(event)

    def _time_left(self, trials: list[FrozenTrial]) -> float | None:
        """Seconds left of the search; workers are sent a new limit where later steps take longer than estimated."""
        self.budget.reserve = reserve(self.sweep, trials, self.workers, self.budget.start, self.budget.growth)
        left = self.budget.for_search()
        if left is not None:
            end = time.monotonic() + left
            if self._limit is not None and abs(end - self._limit) > 1:
                self.pool.limit(left)
            if self._limit is None or abs(end - self._limit) > 1:
                self._limit = end
        return left

    def _size(self, trials: list[FrozenTrial]) -> int:
        """No more workers than there is work for."""
        open_trials = sum(not t.state.is_finished() for t in trials)
        return min(self.workers, max(open_trials, len(self.pool.workers)))

    def _time_is_over(self, trials: list[FrozenTrial]) -> bool:
        """Whether the time of the search is over; never before a trial is finished, so that something can be used."""
        left = self.budget.for_search()
        if left is None or left > 0:
            return False
        if any(t.state == TrialState.COMPLETE for t in trials) or self.budget.given_up:
            return True
        if not self._waits:
            self._waits = True
            log.warning("the time is over and no trial is finished: the first one is waited for")
        return False

    def _is_done(self, trials: list[FrozenTrial]) -> bool:
        if self._time_is_over(trials):
            # Running trials have used their time; they get a few seconds for their last figures.
            left = self.budget.for_search()
            assert left is not None
            return not self._running(trials) or left < -self.budget.patience(_LAST_FIGURES)
        idle = self.budget.seconds is not None and bool(self.pool.workers) and self.pool.idle >= set(self.pool.workers)
        return idle or self.queue.done(trials)

    def _running(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """Trials that workers of this coordinator run."""
        mine = {m.process.pid for m in self.pool.workers.values()}
        running = [t for t in trials if t.state == TrialState.RUNNING]
        return [t for t in running if t.user_attrs.get("worker", {}).get("pid") in mine]

    def _cut_overdue(self, trials: list[FrozenTrial]) -> None:
        """End trials that cannot be cut and take far longer than a trial may, unless nothing is finished yet."""
        if not any(t.state == TrialState.COMPLETE for t in trials):
            return
        for trial in self._running(trials):
            most = trial.user_attrs.get("most") or self.sweep.time_limit(request_of(trial).index)
            begun = trial.datetime_start
            if most is None or begun is None:
                continue
            # What is prepared once for several trials may take long.
            most = max(_OVERDUE * most, _OVERDUE_SHARE * (self.sweep.budget or 0.0))
            if (datetime.now() - begun).total_seconds() < most:
                continue
            if self.study.cut(trial, f"it took longer than {most:.0f} s"):
                mark_folders(trial_folder(Path(self.job.folder), trial.number), ("running",), "pruned")
                log.warning(f"trial {trial.number} takes too long and is ended")
                self.pool.end(trial.user_attrs["worker"]["pid"])

    def _handle(self, event: Event) -> None:
        """Handle one event of a worker; raises FmlabError, StorageError or SweepFailed where it ends the sweep."""
        match event["event"]:
            case "ready":
                self.budget.ready()
            case "idle":
                self.pool.idle.add(event["member"])
            case "started":
                self._deaths = 0
            case "finished":
                self.log.ended(event)
                self._limit_scores()
                self._stop_if_all_fail(event)
            case "fatal":
                kind = StorageError if event["code"] == StorageError.code else FmlabError
                raise kind(f"a worker cannot go on: {event['error']}")
            case "gone":
                self._worker_ended(event)

    def _limit_scores(self) -> None:
        """Delete validation scores of trials, the worst first, above the bytes that the sweep allows."""
        folder, most = Path(self.job.folder), self.sweep.settings.scores_bytes
        if not self.sweep.settings.ensemble or kept_bytes(folder) <= most:
            return
        sign = 1 if self.sweep.directions[0] == "maximize" else -1
        done = sorted(self.study.trials(TrialState.COMPLETE), key=lambda t: -sign * t.values[0])
        ranked = [kept_by(trial_folder(folder, t.number)) for t in done]
        drop_losers(folder, [name for name in ranked if name], most)

    def _worker_ended(self, event: Event) -> None:
        self._deaths += 1
        if event["status"] not in (0, -2):
            log.warning(f"worker {event['member']} ended with status {event['status']}")
        if self._deaths > _MAX_DEATHS:
            place = Path(self.job.folder) / "workers"
            raise FmlabError(f"workers end before they run a trial; their logs are in {place}")

    def _stop_if_all_fail(self, event: Event) -> None:
        """The first trials failing with one message point to a mistake in all of them."""
        if event.get("reason") in ("interrupted", "lost", "no time") or len(self._ended) >= _ALIKE:
            return
        self._ended.append(event)
        messages = {_kind(str(e.get("error"))) for e in self._ended}
        if len(self._ended) == _ALIKE and len(messages) == 1 and all(e["state"] == "FAIL" for e in self._ended):
            raise SweepFailed(f"stopped: the first {_ALIKE} trials failed alike: {event['error']}")


def _kind(message: str) -> str:
    """A message without the numbers in it."""
    return re.sub(r"[0-9.e+-]+", "#", message)


@contextmanager
def _terminable() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP stop as Ctrl-C does, with their own exit status."""

    def stop(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    try:
        before = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGHUP)}
    except ValueError:  # not the main thread: whoever owns the process handles its signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
