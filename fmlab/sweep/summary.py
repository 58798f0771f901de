"""The log of a sweep: a line a trial, and at the end the best and the failed trials with their folders."""

import logging
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fmlab.config.overrides import text
from fmlab.files import size, write_json
from fmlab.sweep.messages import SIZES
from fmlab.sweep.schedule import by_point, targets
from fmlab.sweep.spec import Sweep
from fmlab.sweep.storage import shown
from fmlab.sweep.study import DONE, reason, request_of

log = logging.getLogger("fmlab")


class ProgressLog:
    """Progress of one sweep, written to the log."""

    def __init__(self, sweep: Sweep, storage: str) -> None:
        self.sweep, self.storage = sweep, storage
        self._done = 0
        self._best: float | None = None

    def open(self, trials: Sequence[FrozenTrial], workers: int, threads: int) -> None:
        """Say what is about to be done."""
        done = {request_of(t).point_id for t in trials if t.state in DONE}
        if self.sweep.total is not None:  # other points of an extended study are not counted
            done &= {request.point_id for request in targets(self.sweep)}
        self._done = len(done)
        best = best_trials(self.sweep, trials)
        if len(self.sweep.directions) == 1 and best:
            self._best = best[0].values[0] * (1 if self.sweep.directions[0] == "maximize" else -1)
        total = "until the budget is spent" if self.sweep.total is None else f"{self.sweep.total} points"
        log.info(
            f"sweep {self.sweep.name}: {total}, {self._done} done before, sampler {self.sweep.sampler}, "
            f"pruner {self.sweep.pruner}, {workers} workers of {threads} threads"
        )
        log.info(f"study {self.sweep.study!r} in {shown(self.storage)}; watch it: {self._dashboard()}")

    def _dashboard(self) -> str:
        place = self.storage.removeprefix("journal://") if self.storage.startswith("journal") else shown(self.storage)
        return shlex.join(["optuna-dashboard", "--host", "127.0.0.1", place])

    def ended(self, event: Mapping[str, Any]) -> None:
        """One line for a trial that ended."""
        done = event["state"] in ("COMPLETE", "PRUNED")
        self._done += done
        total = "" if self.sweep.total is None else f"/{self.sweep.total}"
        figures = " ".join(f"{v:.5g}" for v in event["values"] or ())
        figures = figures or str(event.get("error", "")).split("\n")[0][:120]
        state = event["state"].lower() if event["state"] != "FAIL" else event["reason"]
        words = "" if state == "complete" else f"{state} "
        began = f"goes on from #{event['continues']}  " if "continues" in event else ""
        log.info(
            f"[{self._done}{total}] #{event['number']} {words}{figures}{self._mark(event)}  {event['seconds']:.1f} s  "
            f"{began}{' '.join(event['overrides'])}"
        )

    def _mark(self, event: Mapping[str, Any]) -> str:
        """A star for the best value so far."""
        if event["state"] != "COMPLETE" or len(event["values"]) > 1:
            return ""
        score = event["values"][0] * (1 if self.sweep.directions[0] == "maximize" else -1)
        if self._best is not None and score <= self._best:
            return ""
        self._best = score
        return " *"

    def close(self, trials: Sequence[FrozenTrial], folder: Path) -> int:
        """Say how it ended and write results.json; returns the number of points that failed."""
        lost = failures(self.sweep, trials)
        states = Counter(t.state.name.lower() for t in trials if reason(t) != "dropped")
        counts = ", ".join(f"{n} {s}" for s, n in sorted(states.items()))
        log.info(f"sweep {self.sweep.name}: {counts or 'nothing done'}")
        best = best_trials(self.sweep, trials)
        for trial in best:
            log.info(f"best: {_cells(trial)}  {' '.join(_point(trial))}  {_folder(trial)}")
        fronts = front_trials(self.sweep, trials)
        for trial in fronts if len(fronts) > 1 else ():
            log.info(f"front: {_cells(trial)}  {_sizes(trial)}  {' '.join(_point(trial))}")
        for trial in lost:
            place = Path(_folder(trial)) / "error.txt"
            first = str(trial.user_attrs.get("error", "")).split("\n")[0]
            log.warning(f"failed: #{trial.number} {first}  {' '.join(_point(trial))}  {place}")
        content = {
            "sweep": self.sweep.name,
            "study": self.sweep.study,
            "storage": shown(self.storage),
            "metric": list(self.sweep.metrics),
            "direction": list(self.sweep.directions),
            "states": dict(states),
            "best": [_plain(t) for t in best],
            "front": [_plain(t) for t in fronts],
            "failed": [_plain(t) for t in lost],
        }
        write_json(folder / "results.json", content)
        return len(lost)


def failures(sweep: Sweep, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The last attempt at each point that came to nothing."""
    points = by_point(trials)
    ended = [a for a in points.values() if all(t.state == TrialState.FAIL for t in a)]
    last = [max(a, key=lambda t: request_of(t).attempt) for a in ended]
    return [t for t in last if reason(t) not in ("interrupted", "no time")]


def best_trials(sweep: Sweep, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The best completed trial; of several objectives, those that none beats in all."""
    signs = [1 if d == "maximize" else -1 for d in sweep.directions]
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    scores = [[s * v for s, v in zip(signs, t.values, strict=True)] for t in done]
    if len(signs) == 1:
        return [max(zip(scores, done, strict=True), key=lambda p: (p[0][0], -p[1].number))[1]] if done else []
    return [t for t, s in zip(done, scores, strict=True) if not any(_beats(o, s) for o in scores)]


def front_trials(sweep: Sweep, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Of one objective the trials that no trial with fewer parameters, bytes or microseconds equals, small first."""
    if len(sweep.directions) > 1:
        return best_trials(sweep, trials)
    sign = 1 if sweep.directions[0] == "maximize" else -1
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    found: dict[int, FrozenTrial] = {}
    for name in SIZES:
        best = float("-inf")
        known = [t for t in done if _size(t, name) is not None]
        for trial in sorted(known, key=lambda t: (_size(t, name) or 0.0, -sign * t.values[0], t.number)):
            if sign * trial.values[0] > best:
                best, found[trial.number] = sign * trial.values[0], trial
    return sorted(found.values(), key=lambda t: (_size(t, "parameters") or 0.0, t.number))


def _size(trial: FrozenTrial, name: str) -> float | None:
    value = trial.user_attrs.get("result", {}).get(name)
    return float(value) if isinstance(value, int | float) else None


def _sizes(trial: FrozenTrial) -> str:
    count, held, micro = (_size(trial, name) or 0.0 for name in SIZES)
    return f"{count:,.0f} parameters, {size(int(held))}, {micro:.3g} us a row"


def _beats(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))


def _point(trial: FrozenTrial) -> list[str]:
    """Overrides, without what tells apart several domains of one key."""
    point = trial.user_attrs.get("point", {})
    return [f"{k.partition('@')[0]}={v if isinstance(v, str) else text(v)}" for k, v in point.items()]


def _cells(trial: FrozenTrial) -> str:
    return f"#{trial.number} " + " ".join(f"{v:.6g}" for v in trial.values or ())


def _folder(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("result", {}).get("folder", ""))


def _plain(trial: FrozenTrial) -> dict[str, Any]:
    facts = {k: v for k, v in trial.user_attrs.items() if k in ("reason", "error")}
    if trial.user_attrs.get("continues") is not None:
        facts["continues"] = trial.user_attrs["continues"]
    facts |= trial.user_attrs.get("result", {})
    point = trial.user_attrs.get("point", {})
    return {"number": trial.number, "values": trial.values, "point": point, **facts}
