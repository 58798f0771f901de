"""A protocol made of parts: which interactions count, how they are split, how models are judged."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from fmlab.contracts import Task, Training
from fmlab.data import Array, Dataset
from fmlab.data.filtering import Filter, filtered, without_saturated
from fmlab.data.labels import is_binary
from fmlab.data.leakage import refuse_shared
from fmlab.data.split import TEST, TRAIN, VALIDATION
from fmlab.errors import DataError
from fmlab.evaluation import ScoredRows, rank_metric, selecting_metric, with_monitor
from fmlab.evaluation.ranks import Ties
from fmlab.plugin.option import Range, Renamed, UsedWith
from fmlab_protocols._described import REFITTED, drawn_negatives, of_parts
from fmlab_protocols._given_or_random import without_copies
from fmlab_protocols._labels import classed, least_positive, with_step
from fmlab_protocols._options import CandidateFile, CandidateIds, Metrics, MinLabel, Monitor, Negatives, Refit, Seed
from fmlab_protocols._ranking import Candidates, DrawnBy, ListOf, ListsOfParts, Ranking
from fmlab_protocols._splits import Group, Split, SplitRule, moment, without_pairs_before
from fmlab_protocols.rating import label_bounds

Share = Annotated[int | float, Range(0, None, open_low=True)]
Count = Annotated[int, Range(0, None)]
OnLeak = Literal["error", "drop", "allow"]
WithLists = UsedWith("evaluation", "all", "sampled")


class Composed(Task):
    """Filter, split and evaluation by options: user-level recall and NDCG, folds, time windows, sampled candidates.

    Source: the options of RecBole (Zhao et al., CIKM 2021) and of the splits that NGCF and LightGCN publish (SIGIR
      2019, 2020)

    Filter: `min_label` (null is the rule of the data set, else label 1 of binary labels, else above 0), the window
    from `since` to before `until`, one interaction of each pair, counts of users and items, then a `k_core`-core.

    Split: `user_random` and `user_time` take a share of each user's interactions, or so many for whole numbers
    (user_time with validation=1 test=1 is leave-one-out); `random` of all rows; `time` the latest of all users;
    `k_fold` makes fold number `fold` of `folds` the test; `given` is that of the data, and `auto` too, where there is
    one, else user_random (random without users). `fold` of another drawn split is a repetition with a seed of its own:
    a multirun over `protocol.fold=0,1,2` makes one row of the table, with the deviation over folds.
    `group=pair|user|item|siblings` keeps rows together; siblings are rows of one user and one whole context.

    Evaluation: `all` ranks all items, `sampled` the relevant ones among `n_candidates` others, drawn by `seed`
    uniformly or by training popularity, or from `candidate_file` in NCF's form; `rows` scores labeled rows. With
    `by=user` a list has all relevant items of a user; with `by=row` each test row is a list. Items that a user was
    trained with are never ranked; those of the validation are left out when the test is judged (`exclude_validation`,
    as RecBole does; the code of LightGCN has no validation part).

    For models that read histories, those of test rows hold validation rows too where these came before
    (`user_time`, `time`); a list of all relevant items of a user is asked for at the time of the earliest of them.

    `refit=true` trains the model anew on training and validation rows, for the epochs that the validation selected,
    before it is tested: nothing of a published training file is lost to the validation.
    """

    defaults = {"loss": "bpr"}

    def __init__(
        self,
        dataset: Dataset,
        *,
        min_label: MinLabel = None,
        since: Annotated[str, "earliest time of a row; empty for none", WithLists] = "",
        until: Annotated[str, "time before which rows are kept; empty for none", WithLists] = "",
        repeated: Annotated[
            Literal["first", "last"], "which interaction of a repeated pair is kept", WithLists
        ] = "first",
        min_user_interactions: Annotated[Count, "fewest interactions of a user", WithLists] = 0,
        max_user_interactions: Annotated[Count | None, "most interactions of a user; null keeps all", WithLists] = None,
        min_item_interactions: Annotated[Count, "fewest interactions of an item", WithLists] = 0,
        max_item_interactions: Annotated[
            Count | None, "most interactions of an item; null keeps all", WithLists
        ] = None,
        k_core: Annotated[
            Count | None, "fewest positives of each user and item; null is the rule of the data set", WithLists
        ] = None,
        split: Annotated[Split, "how rows are divided"] = "auto",
        validation: Annotated[Share, "share or number of validation rows"] = 0.1,
        test: Annotated[Share, "share or number of test rows"] = 0.1,
        group: Annotated[Group, "what stays together in one part"] = "none",
        folds: Annotated[int, Range(2, None), "number of folds", UsedWith("split", "k_fold")] = 5,
        fold: Annotated[Count, "which fold is the test; of other splits which repetition"] = 0,
        seed: Seed = 0,
        evaluation: Annotated[
            Literal["all", "sampled", "rows"],
            "what is evaluated: ranked lists of all items or of sampled candidates, or labeled rows",
            Renamed("judge"),
        ] = "all",
        by: Annotated[ListOf, "whether a list has all relevant items of a user or one test row", WithLists] = "user",
        n_candidates: Annotated[
            int, Range(1, None), "sampled items that a held-out item is ranked among", WithLists
        ] = 100,
        candidates_by: Annotated[DrawnBy, "what candidates are drawn by", WithLists] = "uniform",
        candidate_file: Annotated[CandidateFile, WithLists] = "",
        candidate_ids: Annotated[CandidateIds, UsedWith("candidate_file")] = "raw",
        exclude_validation: Annotated[
            bool, "whether validation items are left out when the test is ranked", WithLists
        ] = True,
        ties: Annotated[Ties, "rank of items with equal scores", WithLists] = "expected",
        on_leak: Annotated[OnLeak, "what is done with rows of one part that copy rows of another"] = "error",
        on_saturated: Annotated[
            Literal["error", "drop"], "what is done with users that have every item", WithLists
        ] = "error",
        negatives: Annotated[Negatives, WithLists] = 1,
        resample_negatives: Annotated[bool, "whether every epoch draws new negatives", WithLists] = True,
        refit: Refit = False,
        metrics: Metrics = (),
        monitor: Monitor = "",
    ) -> None:
        """Empty `metrics` and `monitor`: recall and NDCG at 10 and 20; with `evaluation=rows` those of ctr and rating.

        Raises DataError when a part is empty, rows lack what an option needs, or a user has met every item.
        """
        rule = SplitRule(split, validation, test, group, folds, fold, seed)
        reported = _Reported(metrics, monitor, refit)
        if evaluation == "rows":
            parts = _labeled(dataset, rule, reported, min_label, on_leak)
        else:
            wanted = Filter(
                least_positive(dataset, dataset.rule.min_label if min_label is None else min_label),
                moment(since, "protocol.since"),
                moment(until, "protocol.until"),
                repeated,
                user_counts=(min_user_interactions, max_user_interactions),
                item_counts=(min_item_interactions, max_item_interactions),
                core=dataset.rule.core if k_core is None else k_core,
            )
            if split in ("auto", "given") and dataset.split is not None and on_leak != "allow":
                refuse_shared(dataset, wanted.min_label, on_leak)
            data = without_saturated(filtered(dataset, wanted, labels=True), on_saturated)
            candidates = Candidates(n_candidates, candidates_by, seed, candidate_file, candidate_ids)
            ranking = Ranking(by, ties, exclude_validation or refit, refit, evaluation == "sampled", candidates)
            train = partial(Training, negatives=negatives, redraw=resample_negatives)
            parts = _ranked(data, dataset, rule, reported, ranking, train)
        super().__init__(**parts)


class _Reported(NamedTuple):
    """What is reported, what selects, and whether the tested model is trained anew after that."""

    metrics: tuple[str, ...]
    monitor: str
    refit: bool

    def about(self, rows: dict[int, Array]) -> dict[str, str]:
        """The rows of the parts, and which of them the tested model was trained on, for a report."""
        tested = REFITTED if self.refit else "the one that the validation selected"
        return {"rows": of_parts(rows), "tested model": tested}

    def rows(self, part: Array) -> Array | None:
        """The rows that the tested model is trained on anew, None where it is not."""
        return np.flatnonzero((part == TRAIN) | (part == VALIDATION)) if self.refit else None


def _labeled(
    dataset: Dataset, rule: SplitRule, reported: _Reported, min_label: float | None, on_leak: OnLeak
) -> dict[str, Any]:
    """The task that scores labeled rows."""
    if dataset.label is None:
        raise DataError(f"evaluation=rows needs labels; {dataset.name!r} has none: all its rows are positives")
    classes = min_label is not None or dataset.rule.min_label is not None or is_binary(dataset.label)
    data = classed(dataset, min_label) if classes else dataset
    part = rule.parts(data)
    if rule.kind(data) == "given":
        data, part = without_copies(data, part, on_leak)
    rows = {where: np.flatnonzero(part == where) for where in (TRAIN, VALIDATION, TEST)}
    monitor = reported.monitor or ("logloss" if classes else "rmse")
    names = with_monitor(reported.metrics or (("auc", "logloss") if classes else ("rmse", "mae")), monitor)
    bounds = None if classes else label_bounds(data, rows[TRAIN])
    return {
        "dataset": data,
        "training": Training(rows[TRAIN]),
        "validation": ScoredRows(data, rows[VALIDATION], names, bounds=bounds),
        "test": ScoredRows(data, rows[TEST], names, bounds=bounds),
        "monitor": monitor,
        "maximize": selecting_metric(monitor, tuple(data.targets)).maximize,
        "refit": reported.rows(part),
        "test_history": rule.rows_before_test(data, part),
        "described": {"split": rule.described(data), "judged": "labeled rows", **reported.about(rows)},
    }


def _ranked(
    positives: Dataset,
    source: Dataset,
    rule: SplitRule,
    reported: _Reported,
    ranking: Ranking,
    train: Callable[[Array], Training],
) -> dict[str, Any]:
    """The task that ranks items, of the positives of a data set."""
    gains = None if positives.label is None else np.asarray(positives.label)
    data = replace(positives, label=None, targets={})
    part = rule.parts(data)
    if rule.kind(data) == "given":
        part = without_pairs_before(data, part)
    rows = {where: np.flatnonzero(part == where) for where in (TRAIN, VALIDATION, TEST)}
    names, monitor = ranking.metrics(reported.metrics, reported.monitor)
    lists = ListsOfParts(data, source, rows, names, gains, ranking)
    validation, test = lists.of(VALIDATION), lists.of(TEST)
    training = train(rows[TRAIN])
    described = {"split": rule.described(data), **lists.described(), **reported.about(rows)}
    described |= drawn_negatives(training.negatives, anew=training.redraw)
    lost = data.schema.n_users - len(np.unique(np.asarray(data.user)[rows[TEST]]))
    data = with_step(data, f"{lost:,} users have no test item and no list") if lost else data
    return {
        "dataset": data,
        "training": training,
        "validation": validation,
        "test": test,
        "monitor": monitor,
        "maximize": rank_metric(monitor).maximize,
        "refit": reported.rows(part),
        "test_history": rule.rows_before_test(data, part),
        "described": described,
    }
