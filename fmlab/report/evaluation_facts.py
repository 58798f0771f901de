"""How the runs of a leaderboard were judged: the protocol in words, what of the test stands in training, figures on
parts of the test, probabilities beside labels. What a run does not hold, or not in this form, is left out."""

import math
from collections.abc import Iterable, Mapping
from statistics import fmean, stdev
from typing import Any

from fmlab.report.leaderboards import Leaderboard, MetricValue, Row
from fmlab.report.runs import LARGEST, Run

SHARES = {
    "row in training": "have all their values in one training row",
    "pair in training": "have their user and item in training",
    "answered": "are answered by the one training label of their user and item",
    "cold user": "have a user without training rows",
    "cold item": "have an item without training rows",
    "tail item": "have an item outside the head, which has 80% of the training rows",
}
CALIBRATION = {"copc": "sum of labels / sum of probabilities, 1 is best", "ece": "expected calibration error"}
_DETAIL = "reliability"
_MOST = 40  # names of a run that are shown


def shown_metric(board: Leaderboard) -> str:
    """The metric that selects models, or the first where the test part does not give it."""
    names = board.metrics
    return board.monitor if board.monitor in names or not names else names[0]


def protocol_of(board: Leaderboard) -> dict[str, str]:
    """What the runs say of their protocol, by name; texts that differ between runs stand beside each other."""
    found: dict[str, list[str]] = {}
    for run in _runs(board):
        for name, text in _described(run).items():
            texts = found.setdefault(name, [])
            if text not in texts:
                texts.append(text)
    return {name: " / ".join(texts[:3]) + (" / ..." if len(texts) > 3 else "") for name, texts in found.items()}


def shares_of(board: Leaderboard) -> dict[str, float]:
    """Shares of the test rows by name of the audit, the mean over the runs that hold them."""
    held = [_numbers(_mapping(run.content.get("audit")).get("shares")) for run in _runs(board)]
    found = {name: [one[name] for one in held if name in one] for name in SHARES}
    return {name: fmean(values) for name, values in found.items() if values}


def percent(share: float) -> str:
    """A share in words: `36.7%`, `<0.1%`."""
    return f"{share:.1%}" if not 0 < share < 0.0005 else "<0.1%"


def groups_of(board: Leaderboard) -> dict[str, int]:
    """Groups of the test rows that have figures, with their rows: those of the newest run that has the group.

    A group with the same rows as an earlier one is left out.
    """
    found: dict[str, dict[str, float]] = {}
    for run in sorted(_runs(board), key=lambda r: r.finished):
        found |= {name: figures for name, figures in _groups(run).items() if len(figures) > 1}
    kept: dict[str, int] = {}
    seen: list[dict[str, float]] = []
    for name, figures in found.items():
        if figures not in seen:
            seen.append(figures)
            kept[name] = int(figures.get("rows", 0))
    return kept


def on_group(row: Row, group: str, metric: str) -> MetricValue | None:
    """A test metric of a row's runs on a group of the test rows: mean, and deviation over several runs."""
    return _mean_and_deviation(_groups(run).get(group, {}).get(metric) for run in row.runs)


def calibration_of(row: Row, name: str) -> MetricValue | None:
    """`copc` or `ece` of a row's runs."""
    return _mean_and_deviation(_numbers(_reliability(run)).get(name) for run in row.runs)


def curve_of(run: Run) -> list[tuple[float, float, float]]:
    """The reliability curve of a run: mean probability, mean label and number of rows of each interval."""
    listed = _reliability(run).get("curve")
    points = [_numbers(point) for point in listed] if isinstance(listed, list) else []
    names = ("probability", "label", "rows")
    return [(p["probability"], p["label"], p["rows"]) for p in points if all(name in p for name in names)]


def facts_of(run: Run) -> dict[str, Any]:
    """The same of one run, as columns of a table: `protocol/...`, `audit/...`, `test/<metric> on <group>`, and
    `reliability/copc`."""
    found: dict[str, Any] = {f"protocol/{name}": text for name, text in _described(run).items()}
    found |= {f"audit/{name}": v for name, v in _numbers(_mapping(run.content.get("audit")).get("shares")).items()}
    for group, figures in _groups(run).items():
        found |= {f"test/{metric} on {group}": value for metric, value in figures.items()}
    reliability = _numbers(_reliability(run))
    return found | {f"{_DETAIL}/{name}": reliability[name] for name in CALIBRATION if name in reliability}


def _runs(board: Leaderboard) -> Iterable[Run]:
    return (run for row in board.own for run in row.runs)


def _described(run: Run) -> dict[str, str]:
    given = _mapping(run.content.get("protocol_described"))
    return {str(name): text for name, text in list(given.items())[:_MOST] if isinstance(text, str)}


def _groups(run: Run) -> dict[str, dict[str, float]]:
    given = _mapping(_mapping(run.content.get("audit")).get("groups"))
    return {str(name): _numbers(figures) for name, figures in list(given.items())[:_MOST]}


def _reliability(run: Run) -> Mapping[str, Any]:
    """Of the one target, or of the first of several."""
    given = _mapping(run.content.get("test_details"))
    return next((_mapping(v) for k, v in given.items() if k.partition(".")[0] == _DETAIL), {})


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _numbers(value: Any) -> dict[str, float]:
    """The finite numbers of a mapping that somebody else may have written."""
    return {
        str(name): float(v)
        for name, v in _mapping(value).items()
        if isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < LARGEST
    }


def _mean_and_deviation(values: Iterable[float | None]) -> MetricValue | None:
    found = [v for v in values if v is not None and math.isfinite(v)]
    return (fmean(found), stdev(found) if len(found) > 1 else None) if found else None
