"""The statistics every run prints, beside those the papers print for the same data set."""

import math
import re
from collections.abc import Sequence

import numpy as np

from fmlab.data.dataset import Dataset, PreparationStep
from fmlab.data.schema import Array

# What the papers call these statistics.
NAMES = {
    "instances": "samples",
    "interactions": "samples",
    "original records": "samples",
    "attribute dimension": "features",
}
FAR = 1.5  # HyperML counts up to 1.29 times the interactions, and the next rule of a paper leaves 1/1.74 of them
_UNITS = {"": 1, "K": 1_000, "M": 1_000_000}


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


def published(dataset: Dataset) -> dict[str, str]:
    """What the papers print of each statistic, `lorentzfm 573K, gml-fm 1000209`, by our name for it.

    Left out are papers that count what an earlier step left, or something else, see `lines`.
    """
    elsewhere = _elsewhere(dataset)
    found: dict[str, list[str]] = {}
    for key, value in dataset.published.items():
        paper, _, name = key.rpartition(": ")
        if paper not in elsewhere:
            found.setdefault(NAMES.get(name, name), []).append(f"{paper} {value}".strip())
    return {name: ", ".join(values) for name, values in found.items()}


def _elsewhere(dataset: Dataset) -> dict[str, PreparationStep | None]:
    """Papers whose number of samples is nearer to what an earlier step left than to ours, by that step.

    None stands for papers that are far from every step.
    """
    now = _samples(dataset)
    found: dict[str, PreparationStep | None] = {}
    for key, value in dataset.published.items():
        paper, _, name = key.rpartition(": ")
        printed = _number(value) if NAMES.get(name, name) == "samples" else 0
        if not printed:
            continue
        nearest = min(dataset.steps, key=lambda s: _apart(s.rows, printed), default=None)
        if nearest and _apart(nearest.rows, printed) < min(_apart(now, printed), FAR):
            found[paper] = nearest
        elif _apart(now, printed) >= FAR:
            found[paper] = None
    return found


def _apart(rows: float, printed: float) -> float:
    """How many times the one is the other."""
    return max(rows / printed, printed / rows) if rows else math.inf


def _number(text: str) -> float:
    """`1.23M` as 1,230,000; 0 where there is no number."""
    match = re.match(r"([\d.]+)([KM]?)", text)
    return float(match[1]) * _UNITS[match[2]] if match else 0.0


def lines(dataset: Dataset) -> list[str]:
    """What preparation left at each step, and each statistic beside the papers', as text.

    Papers that count what an earlier step left stand there, those that count something else at the end.
    """
    printed, elsewhere = published(dataset), _elsewhere(dataset)
    said = [f"data {dataset.name}  fingerprint {dataset.fingerprint[:12]}"]
    for step in dataset.steps:
        papers = [paper for paper, its in elsewhere.items() if its is step]
        beside = f"   (published: {_figures(dataset, papers)})" if papers else ""
        said.append(f"  {step.name}: {step.rows:,} rows, {step.users:,} users, {step.items:,} items{beside}")
    for name, value in measured(dataset).items():
        here = f"{value:.2%}" if name in ("sparsity", "density") else f"{value:,}"
        if name in printed or name != "density":
            said.append(f"  {name} {here}" + (f"   (published: {printed[name]})" if name in printed else ""))
    if others := [paper for paper, its in elsewhere.items() if its is None]:
        said.append(f"  published of other rows than these: {_figures(dataset, others)}")
    return said


def _figures(dataset: Dataset, papers: Sequence[str]) -> str:
    """`gml-fm 6040 users, 3706 items; hyperml 6K users, ...`."""
    parts = []
    for paper in papers:
        prefix = f"{paper}: "
        figures = {k.removeprefix(prefix): v for k, v in dataset.published.items() if k.startswith(prefix)}
        own = [f"{v.partition(' (')[0]} {k}" for k, v in figures.items()]
        parts.append(f"{paper} {', '.join(own)}")
    return "; ".join(parts)
