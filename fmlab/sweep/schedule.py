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
    """Every point of the sweep in order; without end if only the budget ends it."""
    if sweep.sampler == "grid":
        known = {p.name: p for p in sweep.space.parameters}
        for index, point in enumerate(sweep.space.grid()):
            params = {name: stored(value, known[name]) for name, value in point.params.items()}
            yield TrialRequest(json.dumps(params, sort_keys=True), index, 0, params)
    else:
        for index in count() if sweep.total is None else range(sweep.total):
            yield TrialRequest(str(index), index, 0, starting_params(sweep, index))


def by_point(trials: Iterable[FrozenTrial]) -> dict[str, list[FrozenTrial]]:
    """Attempts at each point, those dropped unrun left out."""
    points: dict[str, list[FrozenTrial]] = defaultdict(list)
    for trial in trials:
        if reason(trial) != "dropped":
            points[request_of(trial).point_id].append(trial)
    return points


def missing(
    wanted: Iterable[TrialRequest],
    trials: Sequence[FrozenTrial],
    *,
    forgiven: frozenset[int],
    retries: int,
    window: float,
) -> list[TrialRequest]:
    """Attempts to enqueue, so that about `window` wait and every point that can still be done is enqueued.

    A point that is done, running or waiting is left alone. One whose worker was lost is tried again `retries` times;
    one that failed only if it did so before this sweep began (`forgiven`): a second failure would be the same.
    """
    points = by_point(trials)
    waiting = sum(t.state == LIVE[1] for t in trials)
    found: list[TrialRequest] = []
    for request in wanted:
        attempts = points.get(request.point_id, [])
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
    """How many of the wanted points are running or waiting somewhere."""
    points = by_point(trials)
    return sum(any(t.state in LIVE for t in points.get(a.point_id, [])) for a in wanted)
