"""Regression on +1 and -1 with sampled negatives, or on the rows' own labels."""

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import torch

from fmlab.data import Dataset, Step
from fmlab.errors import DataError
from fmlab.evaluation import ScoredRows, score_metric, with_monitor
from fmlab.options import Range
from fmlab.protocols import Task, Training
from fmlab.sampling import Observed, draw_negatives
from fmlab.split import TEST, TRAIN, VALIDATION, given_parts, positives, random_parts, sides, sizes
from fmlab_protocols._labels import is_binary


class Rating(Task):
    """Positives labelled +1, sampled negatives -1, split at random 70/20/10; root mean squared error.

    Paper: Guo et al., Enhancing Factorization Machines with Generalized Metric Learning, IEEE TKDE 2022; also Hong et
      al., Interaction-aware Factorization Machines for Recommender Systems, AAAI 2019

    Each interaction gets `negatives` items that its user has not met in any part, in the same context, drawn once by
    `seed`; then all rows are split, as in the papers. Ratings do not matter: every interaction is a positive.
    Data whose labels are 0/1 or -1/1 hold their own negatives: their rows are taken as they are, labelled +1 and -1.
    With negatives=0 the rows' own labels are predicted, for instance stars.
    `split=auto` takes the split that the data come with, if they do; negatives then go with their positive.
    """

    defaults = {"loss": "squared"}

    def __init__(
        self,
        dataset: Dataset,
        *,
        negatives: Annotated[int, Range(0, None)] = 2,
        split: Literal["auto", "random", "given"] = "auto",
        validation: Annotated[int | float, Range(0, None, open_low=True)] = 0.2,
        test: Annotated[int | float, Range(0, None, open_low=True)] = 0.1,
        seed: int = 0,
        metrics: tuple[str, ...] = ("rmse", "mae"),
        monitor: str = "rmse",
    ) -> None:
        """Raises DataError when a part is empty, labels are missing or not finite, or a user has met every item."""
        if negatives and is_binary(dataset.label):
            data = replace(dataset, label=np.where(np.asarray(dataset.label) > 0, 1, -1).astype(np.float32))
        elif negatives:
            data = with_negatives(positives(dataset, None, 0), negatives, seed)
        else:
            data = _own_labels(dataset)
        data = replace(data, truth=None)  # a planted score is on another scale than these labels
        if split == "given" or (split == "auto" and data.split is not None):
            part = given_parts(data)
        else:
            part = random_parts(data.rows, *sizes(data.rows, validation, test), seed)
        names = with_monitor(metrics, monitor)
        super().__init__(
            dataset=data,
            training=Training(np.flatnonzero(part == TRAIN)),
            validation=ScoredRows(data, np.flatnonzero(part == VALIDATION), names),
            test=ScoredRows(data, np.flatnonzero(part == TEST), names),
            monitor=monitor,
            maximize=score_metric(monitor).maximize,
        )


def _own_labels(data: Dataset) -> Dataset:
    if data.label is None:
        raise DataError(f"with negatives=0 rows need labels to predict; {data.name!r} has none")
    wrong = int((~np.isfinite(data.label)).sum())
    if wrong:
        raise DataError(f"labels must be finite, got {wrong:,} of {data.rows:,} that are not")
    return data


def with_negatives(data: Dataset, n: int, seed: int) -> Dataset:
    """The positives, labelled 1, and after them n rows for each, labelled -1."""
    user, item = sides(data)
    observed = Observed(user, item, data.schema.n_users, data.schema.n_items)
    observed.check(user)
    pairs = torch.from_numpy(user.astype(np.int64)), torch.arange(data.rows)
    drawn = draw_negatives(observed, *pairs, n, seed=seed, epoch=0).numpy().reshape(-1)
    rows = data.rows * (1 + n)
    schema, source = data.schema, np.concatenate([np.arange(data.rows), np.repeat(np.arange(data.rows), n)])
    step = Step(f"{n} sampled negatives for each", rows, schema.n_users, schema.n_items, schema.n_features)
    return replace(
        data,
        rows=rows,
        user=user[source],
        item=np.concatenate([item, drawn.astype(item.dtype)]),
        context=None if data.context is None else data.context.take(source),
        label=np.where(np.arange(rows) < data.rows, 1, -1).astype(np.float32),
        time=None if data.time is None else np.asarray(data.time)[source],
        split=None if data.split is None else np.asarray(data.split)[source],
        steps=(*data.steps, step),
    )
