"""What a leaderboard says to somebody who reads nothing else: result, gain, confidence, cost, what lost, what next."""

import math
from collections import Counter
from collections.abc import Sequence

from fmlab.files import size
from fmlab.report.evaluation_facts import shown_metric
from fmlab.report.leaderboards import Row
from fmlab.report.notes import SIGNIFICANT
from fmlab.report.overview import baseline_row, mean_label, verdict
from fmlab.report.runs import Run
from fmlab.report.significance import Comparison
from fmlab.report.tables import Result, format_value, whole

_LOST = 6  # models that are named


def summary(one: Result, runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Headings with a sentence or two each; empty where no run is finished. `runs`: all that were read."""
    if not one.board.own:
        return []
    best, metric = one.board.own[0], shown_metric(one.board)
    mine = [r for r in runs if r.content.get("fingerprint") == one.board.fingerprint]
    chosen = f"validation {one.board.monitor} {format_value(best.validation)}"
    found = [
        ("Best model", f"{best.title}: test {metric} {format_value(best.metrics.get(metric))}; chosen by {chosen}")
    ]
    found.append(("Gain", _gain(one, best, metric)))
    found.append(("Confidence", f"{verdict(one)}; {len(best.runs)} {'run' if len(best.runs) == 1 else 'runs'} of it"))
    found.append(("Cost", _cost(best, mine)))
    found += [(heading, text) for heading, text in (("What was tried", _lost(one, mine)), ("Next", _next(one))) if text]
    return found


def _gain(one: Result, best: Row, metric: str) -> str:
    """How far it is from the simplest thing that there is, with the interval where cases were kept."""
    simple, ours = baseline_row(one.board), best.metrics.get(metric)
    if simple is None or simple is best:
        known = mean_label(best, metric)
        if simple is best:
            return "the best is a simple baseline itself"
        return (
            f"the simple baseline has {known}"
            if known
            else "no simple baseline was run: try model=popularity or model=lr"
        )
    theirs = simple.metrics.get(metric)
    if ours is None or theirs is None:
        return f"{simple.model} has no test {metric}"
    test = _test(one, simple)
    between = "" if test is None else f", 95% interval {-test.high:+.4f} to {-test.low:+.4f}"
    return f"{ours[0] - theirs[0]:+.4f} {metric} over {simple.model} ({theirs[0]:.4f}){between}"


def _test(one: Result, row: Row) -> Comparison | None:
    """The comparison of a row with the best."""
    place = next((at for at, other in enumerate(one.board.own) if other is row), -1)
    return next((c.found[place] for c in one.tests if c.reference is one.board.own[0] and place in c.found), None)


def _cost(best: Row, runs: Sequence[Run]) -> str:
    parts = []
    if (seconds := best.cost("seconds_fit")) is not None:
        parts.append(f"{seconds / 60:.1f} min of training" if seconds >= 60 else f"{seconds:.3g} s of training")
    if (count := best.cost("parameters")) is not None:
        parts.append(f"{whole(count)} parameters")
    if (held := best.cost("bytes")) is not None:
        parts.append(size(int(held)))
    if (micro := best.cost("microseconds_per_row")) is not None:
        parts.append(f"{micro:.3g} us a row on one core")
    whole_time = sum(float(r.content.get("seconds_fit") or 0.0) for r in runs)
    which = f"all {len(runs)} runs" if len(runs) > 1 else "one run"
    return f"{', '.join(parts) or 'not recorded'}; {which} trained for {whole_time / 60:.1f} min"


def _lost(one: Result, runs: Sequence[Run]) -> str:
    """The best row of each other model with its distance on the validation, and what did not finish."""
    board, best = one.board, one.board.own[0]
    others: dict[str, Row] = {}
    for row in board.own[1:]:
        if row.model != best.model:
            others.setdefault(row.model, row)
    said = []
    for row in list(others.values())[:_LOST]:
        gap, test = abs(best.value - row.value), _test(one, row)
        shown = test is not None and test.p is not None and test.p < SIGNIFICANT
        why = "" if test is None or test.p is None else ", shown on the test" if shown else ", not shown on the test"
        said.append(f"{row.model} is {gap:.4f} behind" if math.isfinite(gap) else f"{row.model} is undefined")
        said[-1] += why
    if len(others) > _LOST:
        said.append(f"{len(others) - _LOST} more models are further behind")
    counts = Counter(str(r.content["status"]) for r in runs if not r.complete)
    said += [f"{n} {'run' if n == 1 else 'runs'} {status}" for status, n in sorted(counts.items())]
    return f"on the validation {board.monitor}: {'; '.join(said)}" if said else ""


def _next(one: Result) -> str:
    """One thing to do, by what is missing."""
    best = one.board.own[0]
    if one.board.cut:
        return "trials were cut by the time limit: give the search more time"
    if len(best.runs) < 2 and best.runs[0].content.get("epochs"):
        where = f"fmlab sweep refit FOLDER {best.trial}" if best.trial else "the same command with seed=1,2,3 and -m"
        return f"train it with several seeds, without which no difference is shown: {where}"
    if best.warnings:
        return f"look at its warning: {best.warnings[0]}"
    other = next((row for row in one.board.own if row.model != best.model), None)
    test = None if other is None else _test(one, other)
    if other is not None and test is not None and test.p is not None and test.p >= SIGNIFICANT:
        mine, theirs = best.cost("microseconds_per_row"), other.cost("microseconds_per_row")
        if mine is not None and theirs is not None and theirs < mine:
            return f"{other.model} is not shown to be worse and takes {theirs / mine:.0%} of the time of a row: take it"
    return f"serve it: fmlab export {best.runs[0].folder}"
