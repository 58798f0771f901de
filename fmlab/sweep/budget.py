"""The wall-clock time of a sweep: what is left for the search, and what is kept back for what comes after it."""

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fmlab.records.folder import CHECKPOINTS, LAST
from fmlab.sweep.messages import SIZES
from fmlab.sweep.spec import Sweep

BASE, SHARE = 1.5, 0.02  # seconds, and share of the budget, that choosing an ensemble and saying it may take
START = 0.4  # of the time from the command to the first trial, which tells how fast the machine is now: as much again
TRAINING = 0.02  # of the budget, that a trial has to have for its training
FIRST = 0.05  # of the budget, that a trial may train where none is finished and the time is over
MEMBERS = 6  # best trials whose time of judging is kept back
MOST = 0.3  # of the budget, that is kept back at most
ENSEMBLE = 0.3  # of the time after the search, that choosing and judging an ensemble has before a refit
REFIT = 0.3  # of the budget, that is kept back at most for training on all rows what is announced
FEW = 4  # finished trials up to which less of it is kept back: the search goes first
REFITTED = 8  # trials that this is kept back for: as many members has an ensemble
LATE = 3.0  # budgets that the first finished trial is waited for


class Budget:
    """Seconds from a moment on, of which some are kept back; without a number of them there is no end.

    `reserve` are the seconds that are kept back, `start` those that had gone when the first worker was ready. `growth`
    is set where what is announced is trained anew on all rows: how many these are for each training row.
    """

    def __init__(self, seconds: float | None, spent: float = 0.0, *, hard: bool = False) -> None:
        """`spent`: seconds of the budget that are gone. `hard`: not even the first finished trial is waited for."""
        self.seconds, self.reserve, self.start, self.hard = seconds, 0.0, 0.0, hard
        self.growth: float | None = None
        self._end = None if seconds is None else time.monotonic() + seconds - spent

    def left(self) -> float | None:
        """Seconds to the end, negative after it; None where there is none."""
        return None if self._end is None else self._end - time.monotonic()

    def for_search(self) -> float | None:
        """Seconds in which trials may run."""
        left = self.left()
        return None if left is None else left - self.reserve

    def patience(self, usual: float) -> float:
        """Seconds that workers may take to stop: less of a small budget."""
        return usual if self.seconds is None else min(usual, 1 + 0.02 * self.seconds)

    def ready(self) -> None:
        """A worker is ready."""
        left = self.left()
        if left is not None and self.seconds is not None and not self.start:
            self.start = self.seconds - left

    @property
    def given_up(self) -> bool:
        """Whether not even the first finished trial is waited for any more."""
        left = self.left()
        late = 0.0 if self.hard else LATE * max(self.seconds or 0.0, 60.0)
        return left is not None and left < -late


def reserve(
    sweep: Sweep, trials: Sequence[FrozenTrial], workers: int, start: float = 0.0, growth: float | None = None
) -> float:
    """Seconds to keep back for the ensemble and the refit, by the times that trials have measured so far.

    `start`: seconds that the start took. `growth`: see `Budget`.
    """
    if sweep.budget is None:
        return 0.0
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    kept = 0.0
    if sweep.settings.ensemble:
        judged = sum(_judging(t) for t in _ends(sweep, done)[:MEMBERS])
        kept += BASE + SHARE * sweep.budget + min(START * start, MOST / 3 * sweep.budget) + judged
    if sweep.refit_seeds and done:
        sign = 1 if sweep.directions[0] == "maximize" else -1
        best = max(done, key=lambda t: sign * t.values[0])
        rounds = -(-len(sweep.refit_seeds) // min(workers, len(sweep.refit_seeds)))
        kept += BASE + rounds * seconds_of(best, "seconds") / float(sweep.settings.train_fraction or 1)
    return min(kept, MOST * sweep.budget) + _for_all_rows(sweep, done, workers, START * start, growth)


def _for_all_rows(sweep: Sweep, done: Sequence[FrozenTrial], workers: int, start: float, growth: float | None) -> float:
    """Seconds for training the best trials anew on all rows: what they took, and more of it as there are more rows.

    `start`: seconds until new workers are ready.
    """
    if growth is None or not done or sweep.budget is None:
        return 0.0
    best = _ends(sweep, done)[: REFITTED if sweep.settings.ensemble else 1]
    costs = [refit_seconds(t, growth) for t in best]
    return min(
        BASE + start + max(sum(costs) / min(workers, len(costs)), max(costs)),
        REFIT * min(1.0, len(done) / FEW) * sweep.budget,
    )


def _ends(sweep: Sweep, done: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Finished trials, the best first; not those that another one goes on from, which is the same model, further on."""
    sign = 1 if sweep.directions[0] == "maximize" else -1
    continued = {t.user_attrs.get("continues") for t in done}
    return sorted((t for t in done if t.number not in continued), key=lambda t: -sign * t.values[0])


def _judging(trial: FrozenTrial) -> float:
    """Seconds that a member of an ensemble takes: on both parts to choose and on both to judge it, or on the test alone
    where its scores of the validation are kept."""
    kept = trial.user_attrs.get("result", {}).get("scores_kept")
    return seconds_of(trial, "judged") * (1 if kept else 2)


def refit_seconds(trial: FrozenTrial, growth: float) -> float:
    """What training a trial anew takes, up to its best epoch; `growth`: rows of the refit for each row of the trial."""
    fit = seconds_of(trial, "fit")
    share = seconds_of(trial, "best_share") or 1.0
    return seconds_of(trial, "seconds") - fit + growth * share * fit


def seconds_of(trial: FrozenTrial, part: str) -> float:
    """What a trial measured: `seconds` in all, `fit` those that a limit can cut, `judged` those of its figures."""
    return float(trial.user_attrs.get("result", {}).get(part) or 0.0)


def measured(folder: Path) -> dict[str, Any]:
    """What a finished run costs: seconds, `fit` and `judged`; parameters, bytes, microseconds of a row.

    `scores_kept`: where its scores of the validation rows are on disk. `best_share`: the part of its epochs up to the
    best one. `unfinished`: where its time ended a run that can go on, not one whose rate came down in fewer epochs
    than it wanted (`epochs_wanted`).
    """
    try:
        content: Any = json.loads((folder / "metrics.json").read_text("utf-8"))
        cuttable = content.get("seconds_fit") if content.get("epochs") else None
        parts = {"fit": cuttable, "judged": content.get("seconds_test")}
        parts |= {name: content.get(name) for name in SIZES}
    except (OSError, ValueError, AttributeError):
        return {}
    found: dict[str, Any] = {name: float(value) for name, value in parts.items() if isinstance(value, int | float)}
    epochs, best = content.get("epochs"), content.get("best_epoch")
    rising = isinstance(epochs, int) and isinstance(best, int) and best >= epochs - 1
    if content.get("scores"):
        found["scores_kept"] = True
    if isinstance(epochs, int) and isinstance(best, int) and epochs:
        found["best_share"] = min(1.0, (best + 1) / epochs)
    if content.get("cut") and rising and "epochs_wanted" not in content and (folder / CHECKPOINTS / LAST).is_file():
        found["unfinished"] = True
    return found


def least(trials: Iterable[FrozenTrial], model: Any = None) -> float:
    """Seconds that a trial takes at least, however early its training is cut: the quickest so far, 0 where none is.

    Those of the same `model` tell it where there are some.
    """
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    alike = [t for t in done if model is not None and t.params.get("model") == model]
    return min((seconds_of(t, "seconds") - seconds_of(t, "fit") for t in alike or done), default=0.0)
