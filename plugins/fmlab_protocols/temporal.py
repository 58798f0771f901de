"""The past is trained on, the future is tested: one moment parts all users."""

from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np

from fmlab.contracts import Task, Training
from fmlab.data import Array, Dataset, PreparationStep
from fmlab.data.filtering import positives, without_saturated
from fmlab.data.labels import is_binary
from fmlab.data.negative_sampling import UserItemSet
from fmlab.data.split import PARTS, TEST, TRAIN, VALIDATION, given_parts, require, sides, sizes
from fmlab.errors import DataError
from fmlab.evaluation import RankedLists, ScoredRows, rank_metric, score_metric, with_monitor
from fmlab.plugin.option import Renamed
from fmlab_protocols._described import GIVEN, drawn_negatives, of_parts, ranked
from fmlab_protocols._labels import classed, least_positive
from fmlab_protocols._options import KCore, Metrics, MinLabel, Monitor, Negatives, OnSaturated, TestRows, ValidationRows


class Temporal(Task):
    """The latest interactions of all users are the test, those before them the validation, the rest is trained on.

    Paper: Meng, McCreadie, Macdonald, Ounis, Exploring Data Splitting Strategies for the Evaluation of Recommendation
      Models, RecSys 2020

    Nothing that is trained on is later than what is judged: leave-one-out and random splits leak the future, since
    other users' training interactions are later than a test item. `validation` and `test` are shares (fractions) or
    rows (whole numbers), about: a moment is never parted, so that rows of one time stay together.

    `split=given` takes the split that the data come with instead, which must be one by time: a row that is later than
    one of the next part is refused.

    `task=ranking` keeps positives (the rule of the data set, as in full_ranking) and ranks each held-out item among
    all that the user has not met; `task=ctr` scores rows labeled 0 and 1; `auto` takes ctr where there are no items
    or labels are 0/1. `cold_entities=drop` does not judge, and counts, positives of users or items that nothing is
    learned of before; `keep` evaluators them too. `on_saturated` is that of `full_ranking`.
    """

    defaults = {"loss": "bce"}

    def __init__(
        self,
        dataset: Dataset,
        *,
        task: Annotated[
            Literal["auto", "ranking", "ctr"], "what is judged: lists of items or labeled rows", Renamed("judged")
        ] = "auto",
        min_label: MinLabel = None,
        k_core: KCore = None,
        split: Annotated[Literal["time", "given"], "how rows are divided"] = "time",
        validation: ValidationRows = 0.1,
        test: TestRows = 0.1,
        cold_entities: Annotated[
            Literal["drop", "keep"],
            "what is done with judged rows of users or items that no training row has",
            Renamed("unseen"),
        ] = "drop",
        on_saturated: OnSaturated = "error",
        negatives: Negatives = 10,
        metrics: Metrics = (),
        monitor: Monitor = "",
    ) -> None:
        """Empty `metrics` and `monitor` are those of full_ranking or ctr. Raises DataError without times."""
        if dataset.time is None:
            raise DataError(f"a split by time needs times; {dataset.name!r} has none")
        scored = task == "ctr" or (task == "auto" and (dataset.item is None or is_binary(dataset.label)))
        if scored:
            data = classed(dataset, min_label)
        else:
            least = least_positive(dataset, dataset.rule.min_label if min_label is None else min_label)
            data = positives(dataset, least, dataset.rule.core if k_core is None else k_core)
            data = without_saturated(data, on_saturated)
        part = _given(data) if split == "given" else temporal_parts(np.asarray(data.time), validation, test)
        rows = {where: np.flatnonzero(part == where) for where in (TRAIN, VALIDATION, TEST)}
        monitor = monitor or ("logloss" if scored else "mrr")
        names = with_monitor(metrics or (("auc", "logloss") if scored else ("mrr", "hr@10", "ndcg")), monitor)
        if scored:
            evaluators: list[Any] = [ScoredRows(data, rows[where], names) for where in (VALIDATION, TEST)]
        else:
            user, item = sides(data)
            if cold_entities == "drop":
                data, rows = _learned(data, rows)
            observed = UserItemSet(user, item, data.schema.n_users, data.schema.n_items)
            observed.check(user)
            evaluators = [
                RankedLists(data, rows[where], observed, names, trained=rows[TRAIN]) for where in (VALIDATION, TEST)
            ]
        super().__init__(
            dataset=data,
            training=Training(rows[TRAIN], 0 if scored else negatives),
            validation=evaluators[0],
            test=evaluators[1],
            monitor=monitor,
            maximize=(score_metric if scored else rank_metric)(monitor).maximize,
            test_history=np.sort(np.concatenate([rows[TRAIN], rows[VALIDATION]])),
            described={
                "split": GIVEN
                if split == "given"
                else f"one moment for all: the latest rows, {_sizes(validation, test)}",
                "rows": of_parts(rows),
                **({"judged": "labeled rows"} if scored else {**ranked(names), **drawn_negatives(negatives)}),
            },
        )


def _sizes(validation: int | float, test: int | float) -> str:
    return f"validation {validation:g}, test {test:g}"


def temporal_parts(time: Array, validation: int | float, test: int | float) -> Array:
    """The part of every row; raises DataError if too few different moments leave a part empty."""
    n_validation, n_test = sizes(len(time), validation, test)
    ordered = np.sort(time)
    first_test = ordered[len(time) - n_test]
    first_validation = ordered[len(time) - n_test - n_validation]
    part = np.where(time >= first_test, TEST, np.where(time >= first_validation, VALIDATION, TRAIN)).astype(np.int8)
    require(*np.bincount(part, minlength=3).tolist())
    return part


def _given(data: Dataset) -> Array:
    """The split that the data come with; raises DataError if a row is later than one of the next part."""
    part, time = given_parts(data), np.asarray(data.time)
    for before, after in ((TRAIN, VALIDATION), (VALIDATION, TEST)):
        first = time[part == after].min()
        if late := np.count_nonzero(time[part == before] > first):
            rule = f"in a split by time no row of {PARTS[before]} is later than one of {PARTS[after]}"
            raise DataError(f"{rule}, {late:,} rows of {data.name!r} are; protocol.split=time makes another")
    return part


def _learned(data: Dataset, rows: dict[int, Array]) -> tuple[Dataset, dict[int, Array]]:
    """Without held-out rows whose user or item has no training row, and a step that counts them."""
    user, item = sides(data)
    known_user, known_item = np.zeros(data.schema.n_users, bool), np.zeros(data.schema.n_items, bool)
    known_user[user[rows[TRAIN]]] = known_item[item[rows[TRAIN]]] = True
    left = {where: r[known_user[user[r]] & known_item[item[r]]] for where, r in rows.items()}
    for where in (VALIDATION, TEST):
        if not len(left[where]):
            rule = "have a user or an item that is not trained on; cold_entities=keep evaluators them"
            raise DataError(f"all of the {PARTS[where]} {rule}, smaller shares may leave more")
    lost = [f"{len(rows[w]) - len(left[w]):,} of {len(rows[w]):,}" for w in (VALIDATION, TEST)]
    name = f"not judged, nothing is learned of them: validation {lost[0]}, test {lost[1]}"
    step = PreparationStep(name, data.rows, data.schema.n_users, data.schema.n_items, data.schema.n_features)
    return replace(data, steps=(*data.steps, step)), left
