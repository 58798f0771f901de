"""What a coordinator does to the study: asks for points, gives up what dead workers left, knows when all is done."""

import logging
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fmlab.sweep.compatibility import settle_identity
from fmlab.sweep.heartbeat import LivenessMonitor
from fmlab.sweep.messages import mark_folders, trial_folder
from fmlab.sweep.schedule import missing, targets, unfinished
from fmlab.sweep.spec import Sweep
from fmlab.sweep.study import Study, TrialRequest, ask_of, reason

log = logging.getLogger("fmlab")
_JOIN = 5.0  # seconds a joiner waits for the study's creator to write what it searches
_AHEAD = 50  # points that the study's creator keeps waiting


class TrialQueue:
    """The queue of one sweep in its study."""

    def __init__(self, sweep: Sweep, ledger: Study, folder: Path, *, creator: bool, workers: int) -> None:
        """`folder`: of the sweep. `creator`: the study is new; only one of several coordinators has that."""
        self.sweep, self.ledger, self.folder, self.creator = sweep, ledger, folder, creator
        self._wanted = None if sweep.total is None else list(targets(sweep))
        # One looks far ahead; those who join ask for more only when little is left, so that two rarely do at once.
        self._window = _AHEAD if creator and self._wanted is not None else 2 * workers
        self._watch = LivenessMonitor(sweep.settings.heartbeat)
        self._forgiven: frozenset[int] = frozenset()

    def open(self) -> None:
        """Agree with the study on what is searched, sweep up after dead workers, ask for the first points.

        Raises FmlabError if the study searches something else.
        """
        if not self.creator:
            until = time.monotonic() + _JOIN
            while self.ledger.identity() is None and time.monotonic() < until:
                time.sleep(0.05)
            settle_identity(self.ledger, self.sweep.identity(), allow_change=self.sweep.settings.allow_space_change)
            self._drop_unwanted()
        self.reap(self.ledger.trials())
        failed = self.ledger.trials(TrialState.FAIL)
        for trial in failed:
            self._disown(trial, reason(trial))
        self._forgiven = frozenset(t.number for t in failed)
        self.fill(self.ledger.trials())
        if self.creator:  # joiners wait for this line, and then find the queue filled
            settle_identity(self.ledger, self.sweep.identity(), allow_change=False)

    def _drop_unwanted(self) -> None:
        """Waiting points of the space before it was extended."""
        if self.sweep.settings.allow_space_change and self._wanted is not None:
            slots = {a.slot for a in self._wanted}
            for trial in self.ledger.trials(TrialState.WAITING):
                if ask_of(trial).slot not in slots:
                    self.ledger.give_up(trial, "dropped", "not in the extended space")

    def reap(self, trials: Sequence[FrozenTrial]) -> None:
        """Give up the trials of lost workers."""
        running = [t for t in trials if t.state == TrialState.RUNNING]
        for trial in self._watch.lost(running, self.ledger.away()):
            if self.ledger.give_up(trial, "lost", "its worker died or fell silent"):
                self._disown(trial, "lost")
                log.warning(f"trial {trial.number}: its worker is lost, the point goes to another")

    def release(self, pids: Iterable[int], host: str) -> None:
        """Give back what stopped workers of this coordinator still held."""
        held = set(pids)
        for trial in self.ledger.trials(TrialState.RUNNING):
            worker = trial.user_attrs.get("worker", {})
            mine = worker.get("host") == host and worker.get("pid") in held
            if mine and self.ledger.give_up(trial, "interrupted", "interrupted"):
                self._disown(trial, "interrupted")

    def _disown(self, trial: FrozenTrial, why: str) -> None:
        """The study says what counts: a run whose result never reached it is not complete, and is made again.

        Runs of seeds that it has heard of count: the next attempt takes their figures.
        """
        if why in ("lost", "interrupted"):
            heard = {f"seed-{s}" for s in trial.user_attrs.get("seeds", {})}
            mark_folders(trial_folder(self.folder, trial.number), ("running", "complete"), why, kept=heard)

    def fill(self, trials: Sequence[FrozenTrial]) -> None:
        """Ask for what is missing."""
        for ask in self._missing(trials, self._window):
            self.ledger.enqueue(ask)

    def done(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether every slot is settled, by whomever; never for a sweep that only its budget ends."""
        if self._wanted is None:
            return False
        return not unfinished(self._wanted, trials) and not self._missing(trials, math.inf)

    def _missing(self, trials: Sequence[FrozenTrial], window: float) -> list[TrialRequest]:
        wanted: Any = targets(self.sweep) if self._wanted is None else self._wanted
        retries = self.sweep.settings.retries
        return missing(wanted, trials, forgiven=self._forgiven, retries=retries, window=window)
