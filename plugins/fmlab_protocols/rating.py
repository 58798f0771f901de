"""Regression on +1 and -1 with sampled negatives, or on the rows' own labels."""

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch

from fmlab.contracts import Task, Training
from fmlab.data import Array, Dataset, Field, PreparationStep
from fmlab.data.filtering import positives, without_saturated
from fmlab.data.labels import is_binary
from fmlab.data.leakage import refuse_shared
from fmlab.data.negative_sampling import UserItemSet, draw_negatives
from fmlab.data.split import TEST, TRAIN, VALIDATION, sides
from fmlab.errors import DataError
from fmlab.evaluation import ScoredRows, selecting_metric, with_monitor
from fmlab.memory import refuse_larger
from fmlab.plugin.option import Range
from fmlab_protocols._described import GIVEN, of_parts, with_drawn_rows
from fmlab_protocols._described import drawn as in_words
from fmlab_protocols._given_or_random import is_given, parts, without_copies
from fmlab_protocols._labels import least_positive, with_step
from fmlab_protocols._options import (
    Clip,
    Metrics,
    Monitor,
    OnSaturated,
    OnSharedRow,
    RowSplit,
    Seed,
    TestRows,
    ValidationRows,
)


class Rating(Task):
    """Positives labeled +1, sampled negatives -1, split at random 70/20/10; root mean squared error.

    Paper: Guo et al., Enhancing Factorization Machines with Generalized Metric Learning, IEEE TKDE 2022; also Hong et
      al., Interaction-aware Factorization Machines for Recommender Systems, AAAI 2019

    Each interaction gets `negatives` items that its user has not met in any part, in the same context, drawn once by
    `seed`; then all rows are split, as in the papers. Negatives of a user are different items; where there are too few,
    equal ones are put into one part. Ratings do not matter: every interaction is a positive, but for labels of 0 and
    less. Data whose labels are 0/1 or -1/1 hold their own negatives: their rows are taken as they are, labeled +1 and
    -1. With negatives=0 the rows' own labels are predicted, for instance stars, and so they are of rows without a user
    and an item, for which no negatives can be drawn. `clip` bounds scores by the least and
    the largest training label before their errors are taken, as the authors' code of both papers does, and that of NFM
    and AFM, whose comparisons they take up. `split=auto` takes the split that the data come with, if they do; negatives
    then go with their positive. Interactions in two parts of such a split are refused where negatives are drawn;
    `on_leak=drop` keeps the earliest. Where rows have labels of their own, `on_leak` is that of `ctr`. `on_saturated`
    is that of `full_ranking`.
    """

    defaults = {"loss": "squared"}
    binding = {"loss": "squared"}  # most labels are outside of [0, 1], and there are no candidates to compare

    def __init__(
        self,
        dataset: Dataset,
        *,
        negatives: Annotated[int, Range(0, None), "negatives that are drawn to each training positive"] = 2,
        split: RowSplit = "auto",
        on_leak: OnSharedRow = "error",
        on_saturated: OnSaturated = "error",
        validation: ValidationRows = 0.2,
        test: TestRows = 0.1,
        clip: Clip = True,
        seed: Seed = 0,
        metrics: Metrics = ("rmse", "mae"),
        monitor: Monitor = "rmse",
    ) -> None:
        """Raises DataError when a part is empty, labels are missing or not finite, or a user has met every item."""
        if dataset.targets:
            raise DataError(
                f"rating predicts one label, {dataset.name!r} has the targets {', '.join(dataset.targets)}; choose one "
                "by data.label=COLUMN, or protocol=ctr, which scores each"
            )
        if dataset.label is not None and (dataset.user is None or dataset.item is None):
            negatives = negatives if is_binary(dataset.label) else 0
        drawn = negatives and not is_binary(dataset.label)
        if drawn:
            least, given = least_positive(dataset, None), is_given(dataset, split)
            if given:
                refuse_shared(dataset, least, on_leak)
            data = without_saturated(positives(dataset, least, 0), on_saturated)
            data = with_negatives(data, negatives, seed, data.split if given else None)
        elif negatives:
            data = replace(dataset, label=np.where(np.asarray(dataset.label) > 0, 1, -1).astype(np.float32))
            if np.asarray(dataset.label).min() == 0:
                data = with_step(data, "labels 0 and 1 are read as -1 and 1")
        else:
            data = _own_labels(dataset)
        data = replace(data, truth=None)  # a planted score is on another scale than these labels
        part = parts(data, split, validation, test, seed)
        if drawn:
            part = together(data, part)
        elif is_given(data, split):
            data, part = without_copies(data, part, on_leak)
        names = with_monitor(metrics, monitor)
        training, *held = (np.flatnonzero(part == where) for where in (TRAIN, VALIDATION, TEST))
        bounds = label_bounds(data, training) if clip else None
        super().__init__(
            dataset=data,
            training=Training(training),
            validation=ScoredRows(data, held[0], names, bounds=bounds),
            test=ScoredRows(data, held[1], names, bounds=bounds),
            monitor=monitor,
            maximize=selecting_metric(monitor, tuple(data.targets)).maximize,
            described={
                "split": GIVEN if is_given(data, split) else in_words(validation, test, seed),
                "rows": of_parts([training, *held]),
                "judged": with_drawn_rows(negatives) if drawn else "labeled rows",
                "predictions": "within the range of training labels" if clip else "as they are",
            },
        )


def label_bounds(data: Dataset, training: Array) -> tuple[float, float]:
    """The least and the largest label of the training rows."""
    label = np.asarray(data.label)[training]
    return float(label.min()), float(label.max())


def _own_labels(data: Dataset) -> Dataset:
    if data.label is None:
        raise DataError(f"with negatives=0 rows need labels to predict; {data.name!r} has none")
    wrong = int((~np.isfinite(data.label)).sum())
    if wrong:
        raise DataError(f"labels must be finite, got {wrong:,} of {data.rows:,} that are not")
    return data


def with_negatives(data: Dataset, n: int, seed: int, part: Array | None = None) -> Dataset:
    """Each positive, labeled 1, followed by its n negatives, labeled -1: distinct items for each user if they do.

    With `part[rows]` equal ones are in one part, as far as a user has unmet items for each of its parts. Any stretch of
    rows thus has one share of positives, which training on windows of a large set relies on. A step says which share of
    the negatives is there more than once, because their users lack so many unmet items.
    """
    user, item = sides(data)
    refuse_larger(64.0 * data.rows * (1 + n), f"{data.rows:,} rows with {n:,} negatives each", "choose fewer negatives")
    observed = UserItemSet(user, item, data.schema.n_users, data.schema.n_items)
    observed.check(user, names=data.keys.get("user"))
    schema, whose = data.schema, np.repeat(user, n)
    drawn = distinct_negatives(observed, whose, seed, None if part is None else np.repeat(part, n))
    pairs = np.sort(whose.astype(np.int64) * schema.n_items + drawn)
    again = np.count_nonzero(pairs[1:] == pairs[:-1]) / len(pairs)
    name = f"{n} sampled negatives for each, {again:.2%} of them there before"
    rows, source = data.rows * (1 + n), np.repeat(np.arange(data.rows), 1 + n)
    step = PreparationStep(name, rows, schema.n_users, schema.n_items, schema.n_features)
    return replace(
        data,
        rows=rows,
        user=user[source],
        item=np.column_stack([item, drawn.reshape(-1, n).astype(item.dtype)]).reshape(-1),
        context=None if data.context is None else data.context.take(source),
        label=np.tile(np.array([1] + n * [-1], np.float32), data.rows),
        time=None if data.time is None else np.asarray(data.time)[source],
        split=None if data.split is None else np.asarray(data.split)[source],
        vectors={f.name: _of_rows(f, data.vectors[f.name], source) for f in schema.vectors},
        sequences={f.name: _of_rows(f, data.sequences[f.name], source) for f in schema.sequences},
        weight=None if data.weight is None else np.asarray(data.weight)[source],
        group=None if data.group is None else np.asarray(data.group)[source],
        targets={},
        steps=(*data.steps, step),
    )


def _of_rows(field: Field, values: Any, source: Array) -> Any:
    if field.side != "context":
        return values
    return values.take(source) if field.sequence else values[source]


def distinct_negatives(observed: UserItemSet, user: Array, seed: int, part: Array | None = None) -> Array:
    """An unobserved item for each `user[n]`, no pair twice but where a user has fewer unobserved items than entries.

    Those are then shared out among the parts of the user's entries, `part[n]`, if they are given.
    """
    wanted = np.bincount(user, minlength=observed.n_users)
    free = observed.n_items - observed.degree.numpy()
    out = np.empty(len(user), np.int64)
    # Where more than half of the unobserved items are wanted, they are shuffled: redrawing would take too long.
    many = (2 * wanted > free)[user]
    order = np.flatnonzero(many)[np.argsort(user[many], kind="stable")]
    ends = np.cumsum(wanted[2 * wanted > free])
    draw = np.random.default_rng(seed)
    for mine in np.split(order, ends[:-1]):
        if len(mine):
            u = int(user[mine[0]])
            met = observed.items[observed.offsets[u] : observed.offsets[u + 1]].numpy()
            items = np.delete(np.arange(observed.n_items), met)
            items = draw.permutation(items)
            if part is None or len(items) >= len(mine):
                out[mine] = np.resize(items, len(mine))  # from the beginning again at its end
            else:
                out[mine] = _shared_out(items, part[mine])
    todo = np.flatnonzero(~many)
    taken: Array = np.empty(0, np.int64)
    epoch = 0
    while len(todo):
        pairs = torch.from_numpy(user[todo].astype(np.int64)), torch.from_numpy(todo)
        out[todo] = draw_negatives(observed, *pairs, 1, seed=seed, epoch=epoch).numpy().reshape(-1)
        key, first = np.unique(user[todo].astype(np.int64) * observed.n_items + out[todo], return_index=True)
        at: Array = np.asarray(taken.searchsorted(key))
        new = taken.take(at, mode="clip") != key if len(taken) else np.ones(len(key), bool)
        taken = np.insert(taken, at[new], key[new])  # stays sorted
        todo, epoch = np.delete(todo, first[new]), epoch + 1
    return out


def _shared_out(items: Array, part: Array) -> Array:
    """One of the `items` for each entry of `part[n]`, n > len(items): those of different parts differ if they can."""
    kinds, count = np.unique(part, return_counts=True)
    share = 1 + count * (len(items) - len(kinds)) // len(part)  # of an item each, and of what is left by their entries
    share[np.argmax(count)] += len(items) - share.sum()
    begins = np.cumsum(share) - share
    out = np.empty(len(part), np.int64)
    for kind, n, low in zip(kinds.tolist(), count.tolist(), begins.tolist(), strict=True):
        own = items[low : low + share[kinds == kind][0]] if len(items) >= len(kinds) else items
        out[part == kind] = np.resize(own, n)
    return out


def together(data: Dataset, part: Array) -> Array:
    """The parts, with equal pairs (user, item) in that of the first of them: no judged row is trained on."""
    user, item = sides(data)
    key = user.astype(np.int64) * data.schema.n_items + item
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    return part[first][place]
