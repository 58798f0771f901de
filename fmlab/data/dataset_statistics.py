"""Statistics of a data set that every run prints, such as users, items and sparsity, and those that papers print."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from fmlab.data.dataset import Dataset, PreparationStep, PublishedFigure
from fmlab.data.schema import Array

# What the papers call these statistics.
NAMES = {
    "instances": "samples",
    "interactions": "samples",
    "original records": "samples",
    "attribute dimension": "features",
}
FAR = 1.5  # HyperML counts up to 1.29 times the interactions, and the next rule of a paper leaves 1/1.74 of them


def measured(dataset: Dataset) -> dict[str, float]:
    """Counts of a data set by the names the papers use; `features` leaves the unknown feature of each field out.

    `samples` are positives: where rows hold their own or sampled negatives (labels 0/1 or -1/1), all rows are `records
    with negatives`. Sparsity and density (one less the other) are of the distinct pairs (user, item) among positives.
    """
    schema, positive = dataset.schema, _positive(dataset)
    found: dict[str, float] = {"samples": _samples(dataset)}
    if positive is not None:
        found["records with negatives"] = dataset.rows
    found |= {"fields": schema.n_columns, "features": schema.n_features - len(schema.fields)}
    if dataset.user is not None and dataset.item is not None:
        pairs = np.asarray(dataset.user).astype(np.int64) * schema.n_items + np.asarray(dataset.item)
        pairs = np.sort(pairs if positive is None else pairs[positive])  # several times faster than np.unique
        density = (1 + np.count_nonzero(pairs[1:] != pairs[:-1])) / (schema.n_users * schema.n_items)
        found |= {"users": schema.n_users, "items": schema.n_items, "sparsity": 1 - density, "density": density}
    return found


def _samples(dataset: Dataset) -> int:
    positive = _positive(dataset)
    return dataset.rows if positive is None else int(np.count_nonzero(positive))


def _positive(dataset: Dataset) -> Array | None:
    """Which rows of a set of interactions are positives; None if it holds no negatives."""
    if dataset.label is None or dataset.item is None:
        return None
    label = np.asarray(dataset.label)
    low = label.min()
    binary = low in (0, -1) and ((label == low) | (label == 1)).all() and bool((label == 1).any())
    return label == 1 if binary else None


def published(dataset: Dataset) -> dict[str, list[PublishedFigure]]:
    """What papers print of each statistic, by our name for it.

    Left out are papers that count what an earlier step left, or something else (`lines` names them).
    """
    elsewhere = _elsewhere(dataset)
    found: dict[str, list[PublishedFigure]] = {}
    for figure in dataset.published:
        if figure.paper not in elsewhere:
            found.setdefault(_our_name(figure), []).append(figure)
    return found


def plain_published(dataset: Dataset) -> dict[str, list[dict[str, Any]]]:
    """The same as built-in values, for the record of a run."""
    return {name: [asdict(figure) for figure in figures] for name, figures in published(dataset).items()}


def _our_name(figure: PublishedFigure) -> str:
    return NAMES.get(figure.statistic, figure.statistic)


def _elsewhere(dataset: Dataset) -> dict[str, PreparationStep | None]:
    """Papers whose number of samples is nearer to what an earlier step left than to ours, by that step.

    None stands for papers that are far from every step.
    """
    now = _samples(dataset)
    found: dict[str, PreparationStep | None] = {}
    for figure in dataset.published:
        if _our_name(figure) != "samples":
            continue
        nearest = min(dataset.steps, key=lambda s: _factor(s.rows, figure.value), default=None)
        if nearest and _factor(nearest.rows, figure.value) < min(_factor(now, figure.value), FAR):
            found[figure.paper] = nearest
        elif _factor(now, figure.value) >= FAR:
            found[figure.paper] = None
    return found


def _factor(rows: float, printed: float) -> float:
    """The larger number divided by the smaller one."""
    return max(rows / printed, printed / rows) if rows else math.inf


def lines(dataset: Dataset) -> list[str]:
    """What preparation left at each step, and each statistic beside the papers', as text.

    Papers that count what an earlier step left stand there, those that count something else at the end.
    """
    printed, elsewhere = published(dataset), _elsewhere(dataset)
    found = [f"data {dataset.name}  fingerprint {dataset.fingerprint[:12]}"]
    for step in dataset.steps:
        papers = [paper for paper, its in elsewhere.items() if its is step]
        figures = f"   (published: {_of_papers(dataset, papers)})" if papers else ""
        sides = f", {step.users:,} users, {step.items:,} items" if step.users or step.items else ""
        found.append(f"  {step.name}: {step.rows:,} rows{sides}{figures}")
    for name, value in measured(dataset).items():
        here = f"{value:.2%}" if name in ("sparsity", "density") else f"{value:,}"
        if name in printed or name != "density":
            beside = ", ".join(_with_reason(figure) for figure in printed.get(name, ()))
            found.append(f"  {name} {here}" + (f"   (published: {beside})" if beside else ""))
    if others := [paper for paper, its in elsewhere.items() if its is None]:
        found.append(f"  published of other rows than these: {_of_papers(dataset, others)}")
    return found


def _with_reason(figure: PublishedFigure) -> str:
    return f"{figure.paper} {figure.printed}" + (f" ({figure.reason})" if figure.reason else "")


def _of_papers(dataset: Dataset, papers: Sequence[str]) -> str:
    """`gml-fm 6040 users, 3706 items; hyperml 6K users, ...`."""
    parts = []
    for paper in papers:
        own = [f"{figure.printed} {figure.statistic}" for figure in dataset.published if figure.paper == paper]
        parts.append(f"{paper} {', '.join(own)}")
    return "; ".join(parts)
