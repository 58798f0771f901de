"""Random split of positives; every test item is ranked among all items that its user has not met."""

from typing import Annotated

import numpy as np

from fmlab.contracts import Task, Training
from fmlab.data import Dataset
from fmlab.data.filtering import positives, without_saturated
from fmlab.data.leakage import refuse_shared
from fmlab.data.negative_sampling import UserItemSet
from fmlab.data.split import TEST, TRAIN, VALIDATION, sides
from fmlab.evaluation import RankedLists, rank_metric, with_monitor
from fmlab.plugin.option import Range
from fmlab_protocols._described import GIVEN, drawn, drawn_negatives, of_parts, ranked
from fmlab_protocols._given_or_random import is_given, parts
from fmlab_protocols._labels import least_positive
from fmlab_protocols._options import (
    KCore,
    Metrics,
    MinLabel,
    Monitor,
    Negatives,
    OnSaturated,
    OnSharedPair,
    RowSplit,
    Seed,
)


class FullRanking(Task):
    """Positives split at random; the test item is ranked among all items the user has not interacted with.

    Paper: Xu, Wu, Lorentzian Factorization Machine with Triangle Inequality for Feature Interactions, AAAI 2020

    Kept are rows with label >= `min_label`, then a `k_core`-core; null takes the data set's own rule, and label 1 where
    labels are 0/1 or -1/1; of other labels those above 0 are positives. `validation` and `test` are rows (whole
    numbers) or shares (fractions); null is the paper's 10,000 rows, at most a tenth of all. `split=auto` takes the
    split that the data come with, if they do; sizes then do not count. Interactions in two parts of such a split are
    refused; `on_leak=drop` keeps the earliest.

    Training pairs each positive with `negatives` items without a training interaction of its user, drawn anew every
    epoch; rejecting validation and test items there would leak them. Ranked are all items without an interaction of
    the user in any part, and the test item. A user who has every item is refused; `on_saturated=drop` leaves such users
    out. `seed` is the split's; the run's seed does not change it.
    """

    defaults = {"loss": "bpr"}

    def __init__(
        self,
        dataset: Dataset,
        *,
        min_label: MinLabel = None,
        k_core: KCore = None,
        split: RowSplit = "auto",
        on_leak: OnSharedPair = "error",
        on_saturated: OnSaturated = "error",
        validation: Annotated[
            int | float | None, Range(0, None, open_low=True), "share or number of validation rows"
        ] = None,
        test: Annotated[int | float | None, Range(0, None, open_low=True), "share or number of test rows"] = None,
        negatives: Negatives = 10,
        seed: Seed = 0,
        metrics: Metrics = (
            "mrr",
            "hr@10",
            "ndcg",
        ),
        monitor: Monitor = "mrr",
    ) -> None:
        """Raises DataError when a part is empty or a user has met every item."""
        rule = dataset.rule
        least = least_positive(dataset, rule.min_label if min_label is None else min_label)
        if is_given(dataset, split):
            refuse_shared(dataset, least, on_leak)
        data = without_saturated(positives(dataset, least, rule.core if k_core is None else k_core), on_saturated)
        part = parts(data, split, validation, test, seed)
        user, item = sides(data)
        observed = UserItemSet(user, item, data.schema.n_users, data.schema.n_items)
        observed.check(user)
        names = with_monitor(metrics, monitor)
        trained, *held = (np.flatnonzero(part == where) for where in (TRAIN, VALIDATION, TEST))
        super().__init__(
            dataset=data,
            training=Training(trained, negatives),
            validation=RankedLists(data, held[0], observed, names, trained=trained),
            test=RankedLists(data, held[1], observed, names, trained=trained),
            monitor=monitor,
            maximize=rank_metric(monitor).maximize,
            described={
                "split": GIVEN if is_given(dataset, split) else drawn(validation, test, seed),
                "rows": of_parts([trained, *held]),
                **ranked(names),
                **drawn_negatives(negatives),
            },
        )
