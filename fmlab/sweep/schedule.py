"""Which attempts are enqueued next: a pure function of the trials of the study."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import count

from optuna.trial import FrozenTrial

from fmlab.sweep.spec import Sweep
from fmlab.sweep.study import DONE, LIVE, TrialRequest, reason, request_of, retry_of
from fmlab.sweep.suggest import starting_params, stored


def targets(sweep: Sweep) -> Iterator[TrialRequest]:
    """Every slot of the sweep in order; without end if only the budget ends it."""
    if sweep.sampler == "grid":
        known = {p.name: p for p in sweep.space.parameters}
        for index, point in enumerate(sweep.space.grid()):
            params = {name: stored(value, known[name]) for name, value in point.params.items()}
            yield TrialRequest(json.dumps(params, sort_keys=True), index, 0, params)
    else:
        for index in count() if sweep.total is None else range(sweep.total):
            yield TrialRequest(str(index), index, 0, starting_params(sweep, index))


def by_slot(trials: Iterable[FrozenTrial]) -> dict[str, list[FrozenTrial]]:
    """Attempts at each slot, those dropped unrun left out."""
    slots: dict[str, list[FrozenTrial]] = defaultdict(list)
    for trial in trials:
        if reason(trial) != "dropped":
            slots[request_of(trial).slot].append(trial)
    return slots


def missing(
    wanted: Iterable[TrialRequest],
    trials: Sequence[FrozenTrial],
    *,
    forgiven: frozenset[int],
    retries: int,
    window: float,
) -> list[TrialRequest]:
    """Attempts to enqueue, so that about `window` wait and every slot that can still be done is enqueued.

    A slot that is done, running or waiting is left alone. One whose worker was lost is tried again `retries` times;
    one that failed only if it did so before this sweep began (`forgiven`): a second failure would be the same.
    """
    slots = by_slot(trials)
    waiting = sum(t.state == LIVE[1] for t in trials)
    found: list[TrialRequest] = []
    for request in wanted:
        attempts = slots.get(request.slot, [])
        if not attempts:
            if waiting + len(found) >= window:
                break
            found.append(request)
        elif not any(t.state in (*DONE, *LIVE) for t in attempts) and _again(attempts, forgiven, retries):
            found.append(retry_of(max(attempts, key=lambda t: request_of(t).attempt)))
    return found


def _again(attempts: Sequence[FrozenTrial], forgiven: frozenset[int], retries: int) -> bool:
    now = [reason(t) for t in attempts if t.number not in forgiven]
    return not {"failed", "no time"} & set(now) and now.count("lost") <= retries


def unfinished(wanted: Iterable[TrialRequest], trials: Sequence[FrozenTrial]) -> int:
    """How many of the wanted slots are running or waiting somewhere."""
    slots = by_slot(trials)
    return sum(any(t.state in LIVE for t in slots.get(a.slot, [])) for a in wanted)
