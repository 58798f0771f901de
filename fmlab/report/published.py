"""Figures that papers print, beside ours: matched by data, protocol, model, settings and metric.

A package offers figures by an entry point of the group `fmlab.results`: a callable that gives one mapping a figure,
with `paper, table, data, protocol, model, settings, metric, value, printed, note` as texts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points

from fmlab.config.overrides import text
from fmlab.errors import FmlabError
from fmlab.report.leaderboards import Leaderboard, Row


@dataclass(frozen=True)
class PublishedRow:
    """One model in one table of a paper: its figures as printed, and our row of them that is best by validation, among
    those that were trained on the training rows alone."""

    source: str
    model: str
    values: Mapping[str, str]
    ours: Row | None
    note: str = ""


@cache
def _facts() -> tuple[Mapping[str, str], ...]:
    found: list[Mapping[str, str]] = []
    for entry in entry_points(group="fmlab.results"):
        try:
            found += entry.load()()
        except Exception as error:
            raise FmlabError(f"published results {entry.name!r} cannot be read: {error}") from error
    return tuple(found)


def printed(board: Leaderboard) -> list[PublishedRow]:
    """What papers print for the board's data, protocol and metrics, in the order of the papers' tables."""
    own = [row for row in board.own if row.option("refit_on") is None]  # papers train on the training rows alone
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for fact in _facts():
        if fact["data"] == board.data and fact["protocol"] == board.protocol and _holds(fact["settings"], board.place):
            key = (fact["paper"], fact["table"], fact["printed"], fact["model"], fact["settings"])
            groups.setdefault(key, {"note": fact["note"]})[fact["metric"]] = fact["value"]
    found = []
    for (paper, table, name, model, settings), values in groups.items():
        note = values.pop("note")
        if any(row.published_counterpart(metric) is not None for metric in values for row in own):
            ours = next((r for r in own if r.model == model and _holds(settings, r.runs[0].config)), None)
            found.append(PublishedRow(f"{paper} {table}", name, values, ours, note))
    return found


def _holds(settings: str, config: Mapping[str, object]) -> bool:
    """Whether the config has each of the settings that it could have."""
    known = {k.removesuffix(".name"): text(v) for k, v in config.items()}
    wanted = (s.partition("=") for s in settings.split())
    return all(k not in known or _same(known[k], v) for k, _, v in wanted)


def _same(a: str, b: str) -> bool:
    try:
        return float(a) == float(b)
    except ValueError:
        return a == b
