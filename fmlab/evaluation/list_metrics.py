"""What metrics of ranked lists are given, and the values that they give."""

import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fmlab.contracts import ListMetric, Ranks
from fmlab.data import Array, Dataset
from fmlab.errors import DataError, FmlabError, choices

log = logging.getLogger(__name__)

VIEWS = (*("candidates", "item", "gains", "user", "top", "popularity", "history_popularity", "n_users", "attributes"),)


def views_of(metric: ListMetric) -> tuple[str, ...]:
    """The views that a metric names; raises FmlabError for a name that there is no view of."""
    parameters = inspect.signature(metric.of_lists).parameters.values()
    names = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
    for name in names:
        if name not in VIEWS:
            raise FmlabError(f"metric {metric.name} asks for {name!r}, which is no view; {choices(name, VIEWS)}")
    return names


@dataclass(frozen=True)
class TrainedItems:
    """What was trained on: `popularity` int64[items], `of_user` float64[users] (NaN without rows), `n_users`."""

    popularity: Array
    of_user: Array
    n_users: int

    @classmethod
    def of(cls, dataset: Dataset, rows: Array) -> "TrainedItems":
        """Of the training rows of a data set."""
        user, item = (np.asarray(a)[rows] for a in (dataset.user, dataset.item))
        popularity = np.bincount(item, minlength=dataset.schema.n_items)
        count = np.bincount(user, minlength=dataset.schema.n_users)
        total = np.bincount(user, popularity[item].astype(np.float64), minlength=dataset.schema.n_users)
        mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
        return cls(popularity, mean, int(np.count_nonzero(count)))


@dataclass(frozen=True)
class Lists:
    """Judged lists: their ranks, and in the same order who they are of."""

    ranks: Ranks
    user: Array
    candidates: Array
    item: Array
    gains: Array
    top: Array | None = None


def attributes_of(dataset: Dataset) -> Array:
    """Features of every item but its id, int32[items, columns]; -1 where one is unknown or a numeric field's."""
    schema = dataset.schema
    assert dataset.items is not None
    columns = schema.columns("item")
    fields = schema.column_field[columns]
    keep = [c for c, f in enumerate(fields) if schema.fields[f].name != "item" and not schema.fields[f].numeric]
    ids = np.array(dataset.items.ids[:, keep], np.int32)
    unknown = np.array([schema.offsets[fields[c]] for c in keep], np.int32)
    return np.where(ids == unknown, -1, ids)


def view(name: str, metric: Any, lists: Lists, trained: TrainedItems | None, attributes: Array | None) -> Any:
    """One of `VIEWS`; raises DataError where the protocol does not know it."""
    if name == "top":
        assert lists.top is not None
        if getattr(metric, "k", None) is None:
            raise FmlabError(f"metric {metric.name} asks for the first k items, and has no cut-off k; got k=null")
        return lists.top[:, : metric.k]
    if name in ("candidates", "item", "gains", "user"):
        return getattr(lists, name)
    if name == "attributes":
        return attributes
    if trained is None:
        raise DataError(f"metric {metric.name} needs to know what was trained on, which this protocol does not say")
    if name == "history_popularity":
        return trained.of_user[lists.user]
    return trained.n_users if name == "n_users" else trained.popularity


def list_metric_values(
    metrics: Mapping[str, ListMetric], lists: Lists, trained: TrainedItems | None, attributes: Array | None
) -> tuple[dict[str, float], dict[str, Array]]:
    """Value of each metric, and the values of its lists where it is their mean and defined for all of them."""
    values: dict[str, float] = {}
    each: dict[str, Array] = {}
    for name, metric in metrics.items():
        views = {part: view(part, metric, lists, trained, attributes) for part in views_of(metric)}
        found = metric.of_lists(lists.ranks, **views)
        if np.ndim(found) == 0:
            values[name] = float(found)
            continue
        if np.shape(found) != (len(lists.ranks),):
            raise FmlabError(
                f"of_lists of {name} must give one value a list ({len(lists.ranks)},) or one for all, "
                f"got {np.shape(found)}"
            )
        found = np.asarray(found)
        defined = ~np.isnan(found)
        if defined.all():
            values[name], each[name] = float(found.mean()), found
        elif defined.any():
            log.info("%s is undefined, and left out of the mean, in %s lists", name, f"{(~defined).sum():,}")
            values[name] = float(found[defined].mean())
        else:
            raise DataError(f"{name} is undefined for all of the {len(found):,} lists")
    return values, each
