"""Trials that their time ended go on where they stopped, the best first: successive halving with time as the resource.

Source: Jamieson and Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, AISTATS 2016;
Li et al., A system for massively parallel hyperparameter tuning (ASHA), MLSys 2020: what is promoted waits for nobody.
A promoted trial starts from the last checkpoint, so that nothing is trained twice.
"""

import math
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

BEST = 3  # one of so many finished trials is promoted
GROWTH = 2.0  # times the seconds of training that a trial had before it was promoted


def promoted(trials: Sequence[FrozenTrial], *, maximize: bool) -> FrozenTrial | None:
    """The trial that goes on next, None for none.

    It is among the best third of the finished ones by the validation; its time ended it while its last validation was
    its best one; and no other trial goes on from it. `trials`: all of the study.
    """
    sign = 1 if maximize else -1
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    taken = {t.user_attrs.get("continues") for t in trials if t.state != TrialState.FAIL}
    ranked = sorted(done, key=lambda t: (-sign * t.values[0], t.number))[: math.ceil(len(done) / BEST)]
    return next((t for t in ranked if is_unfinished(t) and t.number not in taken), None)


def is_unfinished(trial: FrozenTrial) -> bool:
    """Whether its time ended a trial that was still getting better, and that can be trained on."""
    return bool(trial.user_attrs.get("result", {}).get("unfinished"))


def rounds_before(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> int:
    """How many times the run of a trial was promoted before."""
    known, found = {t.number: t for t in trials}, 0
    while (number := trial.user_attrs.get("continues")) is not None and number in known:
        trial, found = known[number], found + 1
    return found


def is_first(trials: Sequence[FrozenTrial], number: int, parent: int) -> bool:
    """Whether no running trial of a lower number goes on from `parent`: two workers may have promoted it at once."""
    live = [t for t in trials if t.state == TrialState.RUNNING and t.user_attrs.get("continues") == parent]
    return all(t.number >= number for t in live)
