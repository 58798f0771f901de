"""Metrics by the names that protocols list; each metric is a plugin, the AUC is `fmlab_metrics.auc`.

`hr@10` is the plugin `hr` with k=10; `recall@20:denominator=min` gives it an option more. Where a name is a metric of
scored rows, as `auc` is, that of ranked lists is the plugin `list_<name>`: a protocol that ranks finds it by itself.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from fmlab.contracts import ListMetric, RankMetric, Ranks, ScoreMetric
from fmlab.contracts.checks import checked_metric
from fmlab.data import Array
from fmlab.errors import FmlabError
from fmlab.plugin import registry
from fmlab.plugin.registry import build

log = logging.getLogger(__name__)

SAMPLED = "sampled_"
"""Prefix of rank metrics among sampled candidates. They are not estimates of those over all items."""

_OF_LISTS = "list_"


def metric(text: str) -> Any:
    """The plugin that `text` names; raises FmlabError for an unknown name or a cut-off that is no number."""
    named, given = _apart(text)
    name, at, k = named.partition("@")
    if at and not k.isdecimal():
        raise FmlabError(f"a metric is a name, or a name and a cut-off such as hr@10; got {text!r}")
    options: dict[str, Any] = {"name": name, "k": int(k)} if at else {"name": name}
    for one in given:
        option, equals, value = one.partition("=")
        if not equals:
            raise FmlabError(f"options of a metric are written recall@20:denominator=min, got {text!r}")
        options[option] = _plain(value)
    return checked_metric(build("metric", options, gives=(ListMetric, RankMetric, ScoreMetric)), name)


def _apart(text: str) -> tuple[str, list[str]]:
    """Name and cut-off, and the options after them; a name may be `package:name`."""
    first, *rest = text.split(":")
    if rest and "=" not in rest[0] and "@" not in first:
        return f"{first}:{rest[0]}", rest[1:]
    return first, rest


def _plain(text: str) -> Any:
    """A value as it is written: a number, or text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False, "null": None}.get(text, text)


class _OfRanks:
    """A metric of the older form, which looks at one relevant item: the mean over those of a list."""

    def __init__(self, older: RankMetric) -> None:
        self.older, self.name, self.maximize = older, older.name, older.maximize

    def of_lists(self, ranks: Ranks, **asked: Any) -> Array:
        """Mean of the older metric's values over the relevant items of each list."""
        found = self.older.of_ranks(ranks.rank)
        if np.shape(found) != ranks.rank.shape:
            raise FmlabError(
                f"of_ranks of {self.name} must give one value a rank {ranks.rank.shape}, got {np.shape(found)}"
            )
        return ranks.total(found) / ranks.count


def rank_metric(text: str) -> ListMetric:
    """A metric of ranked lists, with or without the prefix `sampled_`; raises FmlabError for one of scored rows only.

    One of the older form, with `of_ranks`, is taken with a warning.
    """
    bare = text.removeprefix(SAMPLED)
    name = _apart(bare)[0].partition("@")[0]
    if _OF_LISTS + name in registry.names("metric"):
        bare = _OF_LISTS + bare
    found = metric(bare)
    if isinstance(found, ListMetric):
        return found
    if isinstance(found, RankMetric):
        log.warning("metric %s has of_ranks(rank), which the next release does not call: write of_lists(ranks)", name)
        return _OfRanks(found)
    raise FmlabError(f"this protocol ranks items: its metrics are of ranked lists, got {text!r}, one of scored rows")


def score_metric(text: str) -> ScoreMetric:
    """A metric of scored rows; raises FmlabError for one of ranks."""
    found = metric(text)
    if not isinstance(found, ScoreMetric):
        raise FmlabError(f"this protocol scores rows: its metrics need scores and labels, got {text!r}, one of ranks")
    return found


def with_monitor(metrics: Sequence[str], monitor: str) -> tuple[str, ...]:
    """The metrics, the monitored one among them."""
    return tuple(dict.fromkeys((*metrics, monitor)))
