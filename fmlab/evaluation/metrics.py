"""Metrics by the names that protocols list: `hr@10` is the plugin `hr` with k=10."""

from collections.abc import Sequence
from typing import Any

from fmlab.contracts import RankMetric, ScoreMetric
from fmlab.contracts.checks import checked_metric
from fmlab.errors import FmlabError
from fmlab.plugin.registry import build

SAMPLED = "sampled_"
"""Prefix of rank metrics among sampled candidates. They are not estimates of those over all items."""


def metric(text: str) -> Any:
    """The plugin that `text` names; raises FmlabError for an unknown name or a cut-off that is no number."""
    name, at, k = text.partition("@")
    if at and not k.isdecimal():
        raise FmlabError(f"a metric is a name, or a name and a cut-off such as hr@10; got {text!r}")
    options = {"name": name, "k": int(k)} if at else {"name": name}
    return checked_metric(build("metric", options, gives=(RankMetric, ScoreMetric)), name)


def rank_metric(text: str) -> RankMetric:
    """A metric of ranks, with or without the prefix `sampled_`; raises FmlabError for one of scores."""
    found = metric(text.removeprefix(SAMPLED))
    if not isinstance(found, RankMetric):
        raise FmlabError(
            f"this protocol ranks items: its metrics are means over ranks, got {text!r}, one of scored rows"
        )
    return found


def score_metric(text: str) -> ScoreMetric:
    """A metric of scored rows; raises FmlabError for one of ranks."""
    found = metric(text)
    if not isinstance(found, ScoreMetric):
        raise FmlabError(f"this protocol scores rows: its metrics need scores and labels, got {text!r}, one of ranks")
    return found


def with_monitor(metrics: Sequence[str], monitor: str) -> tuple[str, ...]:
    """The metrics, the monitored one among them."""
    return tuple(dict.fromkeys((*metrics, monitor)))
