"""Each user's last interaction is ranked among sampled items, and among all."""

from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from fmlab.data import Array, Dataset, Step
from fmlab.evaluation import Ranking, rank_metric, with_monitor
from fmlab.options import Range
from fmlab.protocols import Task, Training
from fmlab.sampling import Observed, draw_distinct
from fmlab.split import TEST, TRAIN, VALIDATION, leave_one_out_parts, positives, sides
from fmlab_protocols._labels import least_positive


class LeaveOneOut(Task):
    """Each user's last interaction is the test, the last but one the validation; ranked among sampled items and all.

    Paper: Vinh Tran et al., HyperML: A Boosting Metric Learning Approach in Hyperbolic Space for Recommender Systems,
      WSDM 2020

    `sampled_hr@10` and `sampled_ndcg@10` are the papers' figures: the item among `candidates` items that the user has
    not interacted with, drawn once by `seed`, the same for all models. Sampled metrics are no estimate of those over
    all items and can order models differently (Krichene & Rendle, KDD 2020), so `hr@10` and `ndcg@10` stand beside
    them, over all items. Validation computes those over all items only if one of them is monitored.

    All interactions count (label 1 where labels are 0/1 or -1/1) unless `min_label` or `core` say otherwise. Users
    with fewer than 3 are trained on, not tested. Ties in time, and data without times, are in row order. The split
    leaks the future: other users' training interactions may be later than a user's test item.

    GML-FM's variant: candidates=99, negatives=2, redraw=false. It has no validation part: it trains on the last but
    one interaction too, and its code selects the epoch on the test. With `train_on_validation` nothing but the test
    is held out: the validation then tells no epochs or models apart, so set trainer.max_epochs to what was selected
    without it, and trainer.check_val_every_n_epoch to the same.
    """

    defaults = {"loss": "bpr"}

    def __init__(
        self,
        dataset: Dataset,
        *,
        min_label: float | None = None,
        core: Annotated[int, Range(0, None)] = 0,
        candidates: Annotated[int, Range(1, None)] = 100,
        negatives: Annotated[int, Range(1, None)] = 1,
        redraw: bool = True,
        train_on_validation: bool = False,
        seed: int = 0,
        metrics: tuple[str, ...] = ("sampled_hr@10", "sampled_ndcg@10", "hr@10", "ndcg@10"),
        monitor: str = "sampled_ndcg@10",
    ) -> None:
        """Raises DataError when no user can be tested or one has fewer than `candidates` items left to draw."""
        data = positives(dataset, least_positive(dataset, min_label), core)
        part = leave_one_out_parts(data)
        data = _with_step(data, part, train_on_validation)
        user, item = sides(data)
        observed = Observed(user, item, data.schema.n_users, data.schema.n_items)
        observed.check(user)
        observed.check(user[part == TEST], candidates, hint="; lower protocol.candidates")
        names = with_monitor(metrics, monitor)
        selecting = tuple(n for n in names if n.startswith("sampled_") or not monitor.startswith("sampled_"))

        def judged(where: int, metrics: tuple[str, ...]) -> Ranking:
            rows = np.flatnonzero(part == where)
            drawn: Tensor | None = None
            if any(n.startswith("sampled_") for n in metrics):
                users = torch.from_numpy(user[rows].astype(np.int64))
                drawn = draw_distinct(observed, users, torch.from_numpy(rows), candidates, seed=seed)
            return Ranking(data, rows, observed, metrics, candidates=drawn)

        super().__init__(
            dataset=data,
            training=Training(
                np.flatnonzero(part != TEST if train_on_validation else part == TRAIN), negatives, redraw
            ),
            validation=judged(VALIDATION, selecting),
            test=judged(TEST, names),
            monitor=monitor,
            maximize=rank_metric(monitor.removeprefix("sampled_")).maximize,
        )


def _with_step(data: Dataset, part: Array, trained: bool) -> Dataset:
    """The data set with steps that say who is not tested, and what not times but the order of rows decided."""
    rows, schema = np.flatnonzero(part == TEST), data.schema
    names = []
    if len(rows) < schema.n_users:
        names.append(f"{schema.n_users - len(rows):,} users with fewer than 3 interactions are trained on, not tested")
    if data.time is None:
        names.append("there are no times: the order of rows decides which interaction is the last")
    elif ties := _ties(data, rows):
        share = f"{ties:,} of {len(rows):,} ({ties / len(rows):.1%})"
        names.append(f"test rows that the order of rows decides, for another has the same time: {share}")
    if trained:
        names.append("the validation is trained on too: its figures say nothing about the test")
    counts = (data.rows, schema.n_users, schema.n_items, schema.n_features)
    return replace(data, steps=(*data.steps, *(Step(name, *counts) for name in names)))


def _ties(data: Dataset, rows: Array) -> int:
    """How many of these last interactions of users are no later than another of the same user."""
    user, time = np.asarray(data.user), np.asarray(data.time)
    last = np.full(data.schema.n_users, np.iinfo(np.int64).max)
    last[user[rows]] = time[rows]
    return int((np.bincount(user[time == last[user]], minlength=len(last)) > 1).sum())
