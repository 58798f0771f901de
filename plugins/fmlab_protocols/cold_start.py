"""New users and rare items: four scenarios, and the number of interactions to learn a user from."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import torch

from fmlab.contracts import Task, Training
from fmlab.data import Array, Dataset, PreparationStep
from fmlab.data.filtering import positives, without_saturated
from fmlab.data.leakage import refuse_shared
from fmlab.data.negative_sampling import UserItemSet, draw_distinct
from fmlab.data.split import TEST, TRAIN, VALIDATION, given_parts, require, sides
from fmlab.errors import DataError
from fmlab.evaluation import RankedLists, ScoredRows, rank_metric, score_metric, with_monitor
from fmlab.plugin.option import Range, Renamed
from fmlab_protocols._described import GIVEN, drawn, drawn_negatives, of_parts, with_drawn_rows
from fmlab_protocols._described import ranked as ranked_lists
from fmlab_protocols._given_or_random import is_given
from fmlab_protocols._grouped import Grouped
from fmlab_protocols._labels import least_positive
from fmlab_protocols._options import (
    Clip,
    Metrics,
    MinLabel,
    Monitor,
    NCandidates,
    Negatives,
    OnSaturated,
    OnSharedPair,
    Seed,
)
from fmlab_protocols.rating import label_bounds, together, with_negatives

SCENARIOS = ("w-w", "w-c", "c-w", "c-c")


class ColdStart(Task):
    """Warm and cold users for warm and cold items (W-W, W-C, C-W, C-C), with few interactions of the cold users.

    Paper: Guo et al., Enhancing Factorization Machines with Generalized Metric Learning, IEEE TKDE 2022, section 5.5;
      groups after Dong et al., MAMO: Memory-Augmented Meta-Optimization for Cold-start Recommendation, KDD 2020. The
      paper states no thresholds: the defaults of `cold_users` and `cold_items` are ours.

    Cold are the `cold_users` (a share) whose first interaction is latest, and items with fewer than `cold_items`
    interactions. Of a cold user the first `shots` interactions are trained on, the others are held out; of warm users a
    random share is. The held-out ones are divided into validation and test in proportion to `validation` and `test`,
    which are shares of the warm users' interactions.

    `task=rating` scores rows: each interaction is +1, with `negatives` unmet items as -1 in the same part (RMSE); a
    negative's scenario is that of its own item; `clip` is that of `rating`. `task=ranking` ranks each held-out item
    among `n_candidates` unmet ones and among all. Every figure is given over all cases, as `<metric>.c-w` for a
    scenario, and as `<metric>.n5-9` for users with 5 to 9 training interactions (`bins` are the lower ends). Sweep
    `shots` for the curve of the paper's figure 4. `split=given` takes the split that the data come with: cold are
    then users with at most `shots` training interactions, times are not needed, and `cold_users`, `validation` and
    `test` do not count; interactions in two parts are refused, `on_leak=drop` keeps the earliest. `on_saturated` is
    that of `full_ranking`. Else the split is by user: warm users' test interactions may be earlier than training ones.
    """

    defaults = {"loss": "squared"}

    def __init__(
        self,
        dataset: Dataset,
        *,
        task: Annotated[
            Literal["rating", "ranking"], "what is judged: scores of rows or lists of items", Renamed("judged")
        ] = "rating",
        min_label: MinLabel = None,
        cold_users: Annotated[
            float, Range(0.0, 1.0, open_low=True, open_high=True), "share of the users that are cold, the latest ones"
        ] = 0.2,
        cold_items: Annotated[int, Range(1, None), "training interactions below which an item is cold"] = 10,
        shots: Annotated[int, Range(0, None), "first interactions of a cold user that are trained on"] = 5,
        split: Annotated[Literal["auto", "user", "given"], "how rows are divided"] = "auto",
        on_leak: OnSharedPair = "error",
        on_saturated: OnSaturated = "error",
        validation: Annotated[float, Range(0.0, 0.5, open_low=True), "share or number of validation rows"] = 0.1,
        test: Annotated[float, Range(0.0, 0.5, open_low=True, open_high=True), "share or number of test rows"] = 0.2,
        negatives: Negatives = 2,
        n_candidates: NCandidates = 99,
        bins: Annotated[tuple[int, ...], "lowest numbers of training interactions of the reported groups of users"] = (
            0,
            1,
            5,
            10,
            20,
        ),
        clip: Clip = True,
        seed: Seed = 0,
        metrics: Metrics = (),
        monitor: Monitor = "",
    ) -> None:
        """Empty `metrics` and `monitor` are those of the paper. Raises DataError without times or a given split."""
        least = least_positive(dataset, min_label)
        if given := is_given(dataset, split):
            refuse_shared(dataset, least, on_leak)
        data = without_saturated(positives(dataset, least, 0), on_saturated)
        user, item = sides(data)
        cold_user = np.empty(0, bool) if given else _late(data, cold_users)
        part = given_parts(data) if given else _parts(data, cold_user, shots, validation, test, seed)
        trained = np.bincount(user[part == TRAIN], minlength=data.schema.n_users)
        cold_user = trained <= shots if given else cold_user
        cold_item = np.bincount(item, minlength=data.schema.n_items) < cold_items
        data = _counted(replace(data, split=part), cold_user, cold_item)
        observed = UserItemSet(user, item, data.schema.n_users, data.schema.n_items)
        ranked = task == "ranking"
        if not ranked:
            data = replace(with_negatives(data, negatives, seed, part), truth=None)
            data = replace(data, split=together(data, np.asarray(data.split)))
        usual = ("sampled_hr@10", "sampled_ndcg@10", "hr@10", "ndcg@10") if ranked else ("rmse",)
        monitor = monitor or ("sampled_ndcg@10" if ranked else "rmse")
        names = with_monitor(metrics or usual, monitor)
        groups = _groups(data, cold_user, cold_item, trained, bins)
        assert data.split is not None
        rows = {where: np.flatnonzero(data.split == where) for where in (TRAIN, VALIDATION, TEST)}
        bounds = label_bounds(data, rows[TRAIN]) if clip and not ranked else None

        def evaluator(where: int) -> Grouped:
            if not ranked:
                return Grouped(ScoredRows(data, rows[where], names, bounds=bounds), groups)
            users = torch.from_numpy(user[rows[where]].astype(np.int64))
            observed.check(users, n_candidates, "; lower protocol.n_candidates", data.keys.get("user"))
            drawn = draw_distinct(observed, users, torch.from_numpy(rows[where]), n_candidates, seed=seed)
            return Grouped(
                RankedLists(data, rows[where], observed, names, candidates=drawn, trained=rows[TRAIN]), groups
            )

        best = rank_metric(monitor) if ranked else score_metric(monitor)
        super().__init__(
            dataset=data,
            training=Training(rows[TRAIN], negatives if ranked else 0),
            validation=evaluator(VALIDATION),
            test=evaluator(TEST),
            monitor=monitor,
            maximize=best.maximize,
            described={
                "split": GIVEN if given else _split_in_words(cold_users, shots, validation, test, seed),
                "rows": of_parts(rows),
                **_evaluation_in_words(names, negatives, n_candidates, seed, ranks=ranked),
            },
        )


def _split_in_words(cold_users: float, shots: int, validation: float, test: float, seed: int) -> str:
    cold = f"the latest {cold_users:.0%} of the users are cold, their first {shots} interactions are trained on"
    return f"{cold}; of the other users {drawn(validation, test, seed)}"


def _evaluation_in_words(names: Sequence[str], negatives: int, n: int, seed: int, *, ranks: bool) -> dict[str, str]:
    if not ranks:
        return {"judged": with_drawn_rows(negatives)}
    return {
        **ranked_lists(names, candidates=f"{n} candidates, drawn uniformly by seed {seed}"),
        **drawn_negatives(negatives),
    }


def _late(data: Dataset, share: float) -> Array:
    """Which users came last; ties are settled by the user's number."""
    if data.time is None:
        raise DataError(f"cold users are those who came last: {data.name!r} has no times")
    first = np.full(data.schema.n_users, np.iinfo(np.int64).max)
    np.minimum.at(first, np.asarray(data.user), np.asarray(data.time))
    count = int(len(first) * share + 0.5)
    if not 0 < count < len(first):
        raise DataError(f"both warm and cold users are needed, got {count} cold of {len(first)}; change cold_users")
    cold = np.zeros(len(first), bool)
    cold[np.argsort(first, kind="stable")[-count:]] = True
    return cold


def _parts(data: Dataset, cold: Array, shots: int, validation: float, test: float, seed: int) -> Array:
    user, _ = sides(data)
    order = np.lexsort((np.asarray(data.time), user))  # stable: ties in row order
    begins = np.r_[0, np.cumsum(np.bincount(user, minlength=len(cold)))[:-1]]
    place = np.empty(data.rows, np.int64)
    place[order] = np.arange(data.rows) - begins[user[order]]
    draw = np.random.default_rng(seed)
    held = np.where(cold[user], place >= shots, False)
    warm = np.flatnonzero(~cold[user])
    held[draw.choice(warm, int(len(warm) * (validation + test) + 0.5), replace=False)] = True
    rows = draw.permutation(np.flatnonzero(held))
    cut = int(len(rows) * validation / (validation + test) + 0.5)
    require(data.rows - len(rows), cut, len(rows) - cut)
    part = np.zeros(data.rows, np.int8)
    part[rows[:cut]], part[rows[cut:]] = VALIDATION, TEST
    return part


def _scenario(data: Dataset, cold_user: Array, cold_item: Array) -> Array:
    """Place in SCENARIOS of every row."""
    user, item = sides(data)
    return 2 * cold_user[user] + cold_item[item]


def _groups(
    data: Dataset, cold_user: Array, cold_item: Array, trained: Array, bins: tuple[int, ...]
) -> dict[str, Array]:
    scenario = _scenario(data, cold_user, cold_item)
    groups = {name: scenario == n for n, name in enumerate(SCENARIOS)}
    n = trained[sides(data)[0]]
    ends = sorted(set(bins))
    for low, high in zip(ends, [*ends[1:], None], strict=True):
        name = f"n{low}+" if high is None else f"n{low}" if high == low + 1 else f"n{low}-{high - 1}"
        groups[name] = n >= low if high is None else (n >= low) & (n < high)
    return groups


def _counted(data: Dataset, cold_user: Array, cold_item: Array) -> Dataset:
    """The data set with a step that counts cold users and items, and the tested interactions of each scenario."""
    tested = np.bincount(_scenario(data, cold_user, cold_item)[np.asarray(data.split) == TEST], minlength=4)
    each = ", ".join(f"{name} {n:,}" for name, n in zip(SCENARIOS, tested, strict=True))
    name = f"{cold_user.sum():,} cold users, {cold_item.sum():,} cold items; tested: {each}"
    step = PreparationStep(name, data.rows, data.schema.n_users, data.schema.n_items, data.schema.n_features)
    return replace(data, steps=(*data.steps, step))
