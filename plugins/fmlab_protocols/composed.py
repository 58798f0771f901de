"""A protocol made of parts: which interactions count, how they are split, how models are judged."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from fmlab.contracts import Task, Training
from fmlab.data import Array, Dataset
from fmlab.data.filtering import Filter, filtered, without_saturated
from fmlab.data.leakage import refuse_shared
from fmlab.data.negatives import UserItemSet, draw_distinct, draw_popular
from fmlab.data.split import TEST, TRAIN, VALIDATION, sides
from fmlab.errors import DataError
from fmlab.evaluation import RankedLists, ScoredRows, rank_metric, selecting_metric, with_monitor
from fmlab.evaluation.label_scale import is_binary
from fmlab.evaluation.metrics import SAMPLED
from fmlab.evaluation.ranks import Ties
from fmlab.plugin.option import Range
from fmlab_protocols._candidates import names as names_of
from fmlab_protocols._candidates import read, renamed
from fmlab_protocols._described import drawn_negatives, of_parts, ranked
from fmlab_protocols._labels import classed, least_positive, with_step
from fmlab_protocols._options import CandidateFile, CandidateIds, Metrics, MinLabel, Monitor, Negatives, Seed
from fmlab_protocols._parts import without_copies
from fmlab_protocols._splits import Group, Split, SplitRule, moment, without_pairs_before
from fmlab_protocols.rating import label_bounds

Share = Annotated[int | float, Range(0, None, open_low=True)]
Count = Annotated[int, Range(0, None)]
_DRAWN = {"uniform": "uniformly", "popularity": "by training popularity"}


class Composed(Task):
    """Filter, split and judge, each by options: user-level recall and NDCG, folds, time windows, sampled candidates.

    Source: the options of RecBole (Zhao et al., CIKM 2021) and of the splits that NGCF and LightGCN publish (SIGIR
      2019, 2020)

    Filter: `min_label` (null is the rule of the data set, else label 1 of binary labels, else above 0), the window
    from `since` to before `until`, one interaction of each pair, counts of users and items, then a `k_core`-core.

    Split: `user_random` and `user_time` take a share of each user's interactions, or so many for whole numbers
    (user_time with validation=1 test=1 is leave-one-out); `random` of all rows; `time` the latest of all users;
    `k_fold` makes fold number `fold` of `folds` the test; `given` is that of the data, and `auto` too, where there is
    one, else user_random (random without users). `fold` of another drawn split is a repetition with a seed of its own:
    a multirun over `protocol.fold=0,1,2` makes one row of the table, with the deviation over folds.
    `group=pair|user|item` keeps rows together.

    Judge: `all` ranks all items, `sampled` the relevant ones among `n_candidates` others, drawn by `seed` uniformly or
    by training popularity, or from `candidate_file` in NCF's form; `rows` scores labeled rows. With `by=user` a list
    has all relevant items of a user; with `by=row` each test row is a list. Items that a user was trained with are
    never ranked; those of the validation are left out when the test is judged (`exclude_validation`, as RecBole does;
    the code of LightGCN has no validation part).

    `refit=true` trains the model anew on training and validation rows, for the epochs that the validation selected,
    before it is tested: nothing of a published training file is lost to the validation.
    """

    defaults = {"loss": "bpr"}

    def __init__(
        self,
        dataset: Dataset,
        *,
        min_label: MinLabel = None,
        since: Annotated[str, "earliest time of a row; empty for none"] = "",
        until: Annotated[str, "time before which rows are kept; empty for none"] = "",
        repeated: Annotated[Literal["first", "last"], "which interaction of a repeated pair is kept"] = "first",
        min_user_interactions: Annotated[Count, "fewest interactions of a user"] = 0,
        max_user_interactions: Annotated[Count | None, "most interactions of a user; null keeps all"] = None,
        min_item_interactions: Annotated[Count, "fewest interactions of an item"] = 0,
        max_item_interactions: Annotated[Count | None, "most interactions of an item; null keeps all"] = None,
        k_core: Annotated[
            Count | None, "fewest positives of each user and item; null is the rule of the data set"
        ] = None,
        split: Annotated[Split, "how rows are divided"] = "auto",
        validation: Annotated[Share, "share or number of validation rows"] = 0.1,
        test: Annotated[Share, "share or number of test rows"] = 0.1,
        group: Annotated[Group, "what stays together in one part"] = "none",
        folds: Annotated[int, Range(2, None), "number of folds"] = 5,
        fold: Annotated[Count, "which fold is the test; of other splits which repetition"] = 0,
        seed: Seed = 0,
        judge: Annotated[
            Literal["all", "sampled", "rows"], "what is judged: lists of all items, sampled candidates, labeled rows"
        ] = "all",
        by: Annotated[
            Literal["user", "row"], "whether a list has all relevant items of a user or one test row"
        ] = "user",
        n_candidates: Annotated[int, Range(1, None), "sampled items that a held-out item is ranked among"] = 100,
        candidates_by: Annotated[Literal["uniform", "popularity"], "what candidates are drawn by"] = "uniform",
        candidate_file: CandidateFile = "",
        candidate_ids: CandidateIds = "raw",
        exclude_validation: Annotated[bool, "whether validation items are left out when the test is ranked"] = True,
        ties: Annotated[Ties, "rank of items with equal scores"] = "expected",
        on_leak: Annotated[
            Literal["error", "drop", "allow"], "what is done with rows of one part that copy rows of another"
        ] = "error",
        on_saturated: Annotated[Literal["error", "drop"], "what is done with users that have every item"] = "error",
        negatives: Negatives = 1,
        resample_negatives: Annotated[bool, "whether every epoch draws new negatives"] = True,
        refit: Annotated[
            bool, "whether the model is trained anew on training and validation rows before the test"
        ] = False,
        metrics: Metrics = (),
        monitor: Monitor = "",
    ) -> None:
        """Empty `metrics` and `monitor` are recall and NDCG at 10 and 20, or those of ctr and rating for `judge=rows`.

        Raises DataError when a part is empty, rows lack what an option needs, or a user has met every item.
        """
        given = dict(locals())
        rule = SplitRule(split, validation, test, group, folds, fold, seed)
        parts = _labeled(dataset, rule, given) if judge == "rows" else _ranked(dataset, rule, given)
        super().__init__(**parts)


def _labeled(dataset: Dataset, rule: SplitRule, given: dict[str, Any]) -> dict[str, Any]:
    """The task that scores labeled rows."""
    if dataset.label is None:
        raise DataError(f"judge=rows needs labels; {dataset.name!r} has none: all its rows are positives")
    classes = given["min_label"] is not None or dataset.rule.min_label is not None or is_binary(dataset.label)
    data = classed(dataset, given["min_label"]) if classes else dataset
    part = rule.parts(data)
    if rule.kind(data) == "given":
        data, part = without_copies(data, part, given["on_leak"])
    rows = {where: np.flatnonzero(part == where) for where in (TRAIN, VALIDATION, TEST)}
    monitor = given["monitor"] or ("logloss" if classes else "rmse")
    names = with_monitor(given["metrics"] or (("auc", "logloss") if classes else ("rmse", "mae")), monitor)
    bounds = None if classes else label_bounds(data, rows[TRAIN])
    return {
        "dataset": data,
        "training": Training(rows[TRAIN]),
        "validation": ScoredRows(data, rows[VALIDATION], names, bounds=bounds),
        "test": ScoredRows(data, rows[TEST], names, bounds=bounds),
        "monitor": monitor,
        "maximize": selecting_metric(monitor, tuple(data.targets)).maximize,
        "refit": _refit(part) if given["refit"] else None,
        "described": {"split": rule.described(data), "judged": "labeled rows", **_trained(rows, given)},
    }


def _ranked(dataset: Dataset, rule: SplitRule, given: dict[str, Any]) -> dict[str, Any]:
    """The task that ranks items."""
    data, gains = _filtered(dataset, given)
    part = rule.parts(data)
    if rule.kind(data) == "given":
        part = without_pairs_before(data, part)
    rows = {where: np.flatnonzero(part == where) for where in (TRAIN, VALIDATION, TEST)}
    prefix = SAMPLED if given["judge"] == "sampled" or given["candidate_file"] else ""
    usual = ("recall@10", "ndcg@10", "recall@20", "ndcg@20") if given["by"] == "user" else ("mrr", "hr@10", "ndcg@10")
    names = [n if n.startswith(SAMPLED) else prefix + n for n in given["metrics"] or usual]
    monitor = given["monitor"] or ("ndcg@20" if given["by"] == "user" else "ndcg@10")
    monitor = monitor if monitor.startswith(SAMPLED) else prefix + monitor
    build = _Judges(data, dataset, rows, with_monitor(names, monitor), gains, given)
    validation, test = build.of(VALIDATION), build.of(TEST)
    described = {"split": rule.described(data), **build.described(), **_trained(rows, given)}
    described |= drawn_negatives(given["negatives"], anew=given["resample_negatives"])
    lost = data.schema.n_users - len(np.unique(np.asarray(data.user)[rows[TEST]]))
    data = with_step(data, f"{lost:,} users have no test item and no list") if lost else data
    return {
        "dataset": data,
        "training": Training(rows[TRAIN], given["negatives"], given["resample_negatives"]),
        "validation": validation,
        "test": test,
        "monitor": monitor,
        "maximize": rank_metric(monitor).maximize,
        "refit": _refit(part) if given["refit"] else None,
        "described": described,
    }


def _filtered(dataset: Dataset, given: dict[str, Any]) -> tuple[Dataset, Array | None]:
    """The positives, and their labels where there are any."""
    rule = dataset.rule
    least = least_positive(dataset, rule.min_label if given["min_label"] is None else given["min_label"])
    if given["split"] in ("auto", "given") and dataset.split is not None and given["on_leak"] != "allow":
        refuse_shared(dataset, least, given["on_leak"])
    counts = [(given[f"min_{side}_interactions"], given[f"max_{side}_interactions"]) for side in ("user", "item")]
    wanted = Filter(
        least,
        moment(given["since"], "protocol.since"),
        moment(given["until"], "protocol.until"),
        given["repeated"],
        user_counts=counts[0],
        item_counts=counts[1],
        core=rule.core if given["k_core"] is None else given["k_core"],
    )
    data = without_saturated(filtered(dataset, wanted, labels=True), given["on_saturated"])
    return replace(data, label=None, targets={}), None if data.label is None else np.asarray(data.label)


def _trained(rows: dict[int, Array], given: dict[str, Any]) -> dict[str, str]:
    """The rows of the parts, and which of them the tested model was trained on."""
    anew = "trained anew on training and validation rows, as long as the validation selected"
    tested = anew if given["refit"] else "the one that the validation selected"
    return {"rows": of_parts(rows), "tested model": tested}


def _refit(part: Array) -> Array:
    return np.flatnonzero((part == TRAIN) | (part == VALIDATION))


class _Judges:
    """The evaluations of both judged parts."""

    def __init__(
        self,
        data: Dataset,
        source: Dataset,
        rows: dict[int, Array],
        names: tuple[str, ...],
        gains: Array | None,
        given: dict[str, Any],
    ) -> None:
        self.data, self.source, self.rows, self.names, self.gains, self.given = data, source, rows, names, gains, given
        self.user, self.item = sides(data)
        self.apart = bool(given["exclude_validation"] or given["refit"])
        self.known = self._set(rows[TRAIN])
        self.known.check(self.user[rows[TRAIN]], names=data.keys.get("user"))

    def of(self, where: int) -> RankedLists:
        """The evaluation of one part."""
        before = [TRAIN] + ([VALIDATION] if where == TEST and self.apart else [])
        trained = np.concatenate([self.rows[w] for w in before])
        hidden = np.concatenate([trained, self.rows[where]]) if self.given["by"] == "row" else trained
        refit = where == TEST and self.given["refit"]
        return RankedLists(
            self.data,
            self.rows[where],
            self._set(hidden),
            self.names,
            by=self.given["by"],
            candidates=self._candidates(where),
            ties=self.given["ties"],
            trained=np.concatenate([self.rows[TRAIN], self.rows[VALIDATION]]) if refit else self.rows[TRAIN],
            gains=self.gains,
        )

    def described(self) -> dict[str, str]:
        """What is ranked, for a report."""
        given = self.given
        drawn = f"{given['n_candidates']} candidates, drawn {_DRAWN[given['candidates_by']]} by seed {given['seed']}"
        left_out = "training and validation items of the user" if self.apart else "training items of the user"
        return ranked(
            self.names,
            whole=given["by"] == "user",
            candidates="candidates of a file" if given["candidate_file"] else drawn,
            left_out=left_out if given["by"] == "user" else f"{left_out}, and its other test items",
            ties=given["ties"],
        )

    def _set(self, rows: Array) -> UserItemSet:
        return UserItemSet(self.user[rows], self.item[rows], self.data.schema.n_users, self.data.schema.n_items)

    def _candidates(self, where: int) -> Tensor | None:
        """Candidates of each row, or of each user who has rows in ascending order."""
        if not any(n.startswith(SAMPLED) for n in self.names):
            return None
        rows, n, seed = self.rows[where], self.given["n_candidates"], self.given["seed"]
        if self.given["candidate_file"] and where == TEST:
            return self._listed(rows)
        met = self._set(np.arange(self.data.rows))
        if self.given["by"] == "user":
            users = np.unique(self.user[rows]).astype(np.int64)
            case = users
        else:
            users, case = self.user[rows].astype(np.int64), rows
        met.check(users, n, "; lower protocol.n_candidates", self.data.keys.get("user"))
        drawn = torch.from_numpy(users), torch.from_numpy(case)
        if self.given["candidates_by"] == "popularity":
            weight = np.bincount(self.item[self.rows[TRAIN]], minlength=self.data.schema.n_items)
            return draw_popular(met, *drawn, n, weight, seed=seed)
        return draw_distinct(met, *drawn, n, seed=seed)

    def _listed(self, rows: Array) -> Tensor:
        """Candidates of the test rows as a file lists them."""
        path = Path(self.given["candidate_file"]).expanduser()
        if self.given["by"] != "row":
            raise DataError("a file of candidates lists them for test rows: it goes with protocol.by=row")
        if not path.is_file():
            raise DataError(f"protocol.candidate_file must be a file, got {path}, which does not exist")
        compact = self.given["candidate_ids"] == "compact"
        listed = read(path, self.data, renamed(self.data, self.source, names_of(self.source, compact)))
        order = np.argsort(listed.rows)
        if not np.array_equal(listed.rows[order], np.sort(rows)):
            got = f"{len(listed.rows):,} are listed, {len(rows):,} in the split"
            raise DataError(f"a file of candidates must list the test rows of the split, {got}, and they differ")
        place = np.argsort(np.argsort(rows, kind="stable"), kind="stable")
        return torch.from_numpy(listed.items[order][place])
