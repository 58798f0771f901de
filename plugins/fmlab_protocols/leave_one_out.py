"""Each user's last interaction is ranked among sampled items, and among all."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch

from fmlab.contracts import Task, Training
from fmlab.data import Array, Dataset, PreparationStep
from fmlab.data.filtering import positives, without_saturated
from fmlab.data.leakage import refuse_shared
from fmlab.data.negative_sampling import UserItemSet, draw_distinct
from fmlab.data.split import TEST, TRAIN, VALIDATION, given_parts, leave_one_out_parts, sides, tested_parts
from fmlab.errors import DataError
from fmlab.evaluation import RankedLists, rank_metric, with_monitor
from fmlab.evaluation.metric_names import SAMPLED
from fmlab.plugin.option import Range, Renamed
from fmlab_protocols._candidates import Listed, checksum, read, renamed, write
from fmlab_protocols._candidates import names as names_of
from fmlab_protocols._described import GIVEN, REFITTED, drawn_negatives, of_parts, ranked
from fmlab_protocols._given_or_random import is_given
from fmlab_protocols._labels import least_positive
from fmlab_protocols._options import (
    CandidateFile,
    CandidateIds,
    Metrics,
    MinLabel,
    Monitor,
    NCandidates,
    Negatives,
    OnSaturated,
    OnSharedPair,
    Refit,
    Seed,
)

log = logging.getLogger(__name__)


class LeaveOneOut(Task):
    """Each user's last interaction is the test, the last but one the validation; ranked among sampled items and all.

    Paper: Vinh Tran et al., HyperML: A Boosting Metric Learning Approach in Hyperbolic Space for Recommender Systems,
      WSDM 2020

    `sampled_hr@10` and `sampled_ndcg@10` are the papers' figures: the item among `n_candidates` items that the user has
    not interacted with, drawn once by `seed`, the same for all models. Sampled metrics are no estimate of those over
    all items and can order models differently (Krichene & Rendle, KDD 2020), so `hr@10` and `ndcg@10` over all
    items are computed as well. Validation computes those over all items only if one of them is monitored.

    `candidate_file` freezes test items and candidates in a file of the form that NCF publishes, `(user,item)`, the
    candidates, tabs between. If the file is there, it says which interaction of a user is the test and what it is
    ranked among, instead of time and `seed`; if not, it is written, with names as in the raw data, for other models
    and programs. `candidate_ids=compact` is for published files that number users and items by their first appearance
    in the rows. Validation candidates are drawn by `seed` all the same.

    `split=auto` takes the split that the data come with, if they do, with one test interaction a user at most and any
    validation rows; `time` does not. Interactions in two of its parts are refused; `on_leak=drop` keeps the earliest.

    All interactions count (label 1 where labels are 0/1 or -1/1, above 0 where some are not) unless `min_label` or
    `k_core` say otherwise; a user who has every item is refused, `on_saturated=drop` leaves such users out. Users
    with fewer than 3 are trained on, not tested. Ties in time, and data without times, are in row order. The split
    leaks the future: other users' training interactions may be later than a user's test item.

    For models that read histories, the history of a test item includes the user's validation item.

    GML-FM's variant: n_candidates=99, negatives=2, resample_negatives=false. It has no validation part: it trains on
    the last but one interaction too, and its code selects the epoch on the test. With `train_on_validation` nothing but
    the test is held out: validation metrics are then computed on training rows and cannot select, so set
    trainer.max_epochs to the number selected without it, and trainer.check_val_every_n_epoch to the same. `refit=true`
    does that by itself: the model is trained anew on all rows but the test, for the epochs that were selected.
    """

    defaults = {"loss": "bpr"}

    def __init__(
        self,
        dataset: Dataset,
        *,
        min_label: MinLabel = None,
        k_core: Annotated[
            int, Range(0, None), "fewest positives of each user and item; 0 keeps all", Renamed("core")
        ] = 0,
        n_candidates: NCandidates = 100,
        candidate_file: CandidateFile = "",
        candidate_ids: CandidateIds = "raw",
        split: Annotated[Literal["auto", "time", "given"], "how rows are divided"] = "auto",
        on_leak: OnSharedPair = "error",
        on_saturated: OnSaturated = "error",
        negatives: Negatives = 1,
        resample_negatives: Annotated[bool, "whether every epoch draws new negatives", Renamed("redraw")] = True,
        train_on_validation: Annotated[bool, "whether all rows but the test are trained on"] = False,
        refit: Refit = False,
        seed: Seed = 0,
        metrics: Metrics = (
            "sampled_hr@10",
            "sampled_ndcg@10",
            "hr@10",
            "ndcg@10",
        ),
        monitor: Monitor = "sampled_ndcg@10",
    ) -> None:
        """Raises DataError when no user can be tested or one has fewer than `n_candidates` items left to draw, or where
        the validation is to be trained on twice."""
        if refit and train_on_validation:
            raise DataError("refit=true trains on the validation after it selected; got train_on_validation=true too")
        least = least_positive(dataset, min_label)
        if given := is_given(dataset, split):
            refuse_shared(dataset, least, on_leak)
        data = without_saturated(positives(dataset, least, k_core), on_saturated)
        user, item = sides(data)
        observed = UserItemSet(user, item, data.schema.n_users, data.schema.n_items)
        observed.check(user)
        names = with_monitor(metrics, monitor)
        selecting = tuple(n for n in names if n.startswith("sampled_") or not monitor.startswith("sampled_"))
        listed = _listed(candidate_file, data, dataset, candidate_ids == "compact")
        if listed and (width := listed.items.shape[1]) != n_candidates:
            raise DataError(f"protocol.n_candidates={width} is what {candidate_file} lists, got {n_candidates}")
        if given:
            part = _given(data, listed)
        else:
            part = tested_parts(data, listed.rows) if listed else leave_one_out_parts(data)
        held, rows = np.flatnonzero(part == VALIDATION), listed.rows if listed else np.flatnonzero(part == TEST)
        draw = partial(_drawn, data, observed, n_candidates, seed)
        fixed = torch.from_numpy(listed.items) if listed else draw(rows, names)
        data = _with_steps(data, part, by_time=not listed and not given, trained=train_on_validation)
        trained = part != TEST if train_on_validation else part == TRAIN
        if candidate_file:
            data = _frozen(data, listed or Listed(rows, draw(rows).numpy()), candidate_file, observed, bool(listed))
        known: dict[str, Any] = {"trained": np.flatnonzero(trained)}
        rest = np.flatnonzero(part != TEST)
        tested = {"tested model": REFITTED} if refit else {}
        super().__init__(
            dataset=data,
            training=Training(known["trained"], negatives, resample_negatives),
            validation=RankedLists(data, held, observed, selecting, candidates=draw(held, selecting), **known),
            test=RankedLists(data, rows, observed, names, candidates=fixed, **({"trained": rest} if refit else known)),
            monitor=monitor,
            maximize=rank_metric(monitor.removeprefix("sampled_")).maximize,
            refit=rest if refit else None,
            test_history=rest,
            described={
                "split": _split_in_words(data, given=given, listed=bool(listed)),
                "rows": of_parts([known["trained"], held, rows]),
                **ranked(names, candidates=_candidates_in_words(n_candidates, seed, listed=bool(listed))),
                **(
                    {"validation": "trained on too: its metrics say nothing about the test"}
                    if train_on_validation
                    else {}
                ),
                **tested,
                **drawn_negatives(negatives, anew=resample_negatives),
            },
        )


def _split_in_words(data: Dataset, *, given: bool, listed: bool) -> str:
    """What was held out."""
    if given:
        return GIVEN
    by = "the order of rows" if data.time is None else "time"
    test = "the interactions of a file are the test" if listed else "each user's last interaction is the test"
    return f"{test}, the last one before it the validation, by {by}"


def _candidates_in_words(n: int, seed: int, *, listed: bool) -> str:
    return f"{n} candidates of a file" if listed else f"{n} candidates, drawn uniformly by seed {seed}"


def _drawn(
    data: Dataset, observed: UserItemSet, n: int, seed: int, rows: Array, metrics: Sequence[str] = (SAMPLED,)
) -> Any:
    """`n` candidates for each row, if a metric asks for them; raises DataError if a user has too few."""
    if not any(name.startswith(SAMPLED) for name in metrics):
        return None
    users = torch.from_numpy(np.asarray(data.user)[rows].astype(np.int64))
    observed.check(users, n, "; lower protocol.n_candidates", data.keys.get("user"))
    return draw_distinct(observed, users, torch.from_numpy(rows), n, seed=seed)


def _listed(path: str, data: Dataset, raw: Dataset, compact: bool) -> Listed | None:
    """What a file, if it is there, lists of the data set that was left of `raw`."""
    file = Path(path).expanduser()
    if path and file.is_file():
        return read(file, data, renamed(data, raw, names_of(raw, compact)))
    if compact:
        raise DataError(f"candidate_ids=compact needs a file of candidates, there is none at {file.absolute()}")
    return None


def _given(data: Dataset, listed: Listed | None) -> Array:
    """The split that the data come with; raises DataError if it is no leave-one-out split, or not that of the file."""
    part = given_parts(data)
    tests = np.bincount(np.asarray(data.user)[part == TEST])
    if (several := np.count_nonzero(tests > 1)) and not listed:
        rule = "a given leave-one-out split has one test interaction a user"
        hint = "protocol=full_ranking judges any split, protocol.split=time splits by time"
        raise DataError(f"{rule}, {several:,} users of {data.name!r} have more; {hint}")
    if listed and not np.array_equal(np.sort(listed.rows), np.flatnonzero(part == TEST)):
        rule = "the file of candidates must list the test interactions of the given split"
        got = f"{len(listed.rows):,} are listed, {tests.sum():,} in the split"
        raise DataError(f"{rule}, {got}, and they differ; protocol.split=time takes those of the file")
    return part


def _frozen(data: Dataset, listed: Listed, path: str, observed: UserItemSet, there: bool) -> Dataset:
    """The data set with a step that names the file, written unless it is there, and its content in the fingerprint."""
    file, (rows, items) = Path(path).expanduser(), listed
    if not there:
        write(file, data, listed)
        log.warning("%s was not there: the candidates were drawn and written to it", file)
    user = torch.from_numpy(np.asarray(data.user)[rows].astype(np.int64))
    same = int((items == np.asarray(data.item)[rows][:, None]).sum())
    met = -same + int(observed.contains(user.unsqueeze(1), torch.from_numpy(items)).sum())
    name = f"{len(rows):,} test items among {items.shape[1]} candidates each, as in {file.name}"
    if same:
        name += f"; {same:,} candidates are the test item itself and do not count"
    if met:
        name += f"; {met:,} candidates ({met / items.size:.2%}) are items that their user has met"
    schema = data.schema
    step = PreparationStep(name, data.rows, schema.n_users, schema.n_items, schema.n_features)
    return replace(data, steps=(*data.steps, step), fingerprint=f"{data.fingerprint}+candidates:{checksum(file)}")


def _with_steps(data: Dataset, part: Array, *, by_time: bool, trained: bool) -> Dataset:
    """The data set with steps that state how many users are not tested, and how many ties in time row order decided."""
    rows, schema = np.flatnonzero(part == TEST), data.schema
    names = []
    if len(rows) < schema.n_users:
        why = "with fewer than 3 interactions " if by_time else ""
        names.append(f"{schema.n_users - len(rows):,} users {why}are trained on, not tested")
    if not by_time:
        pass
    elif data.time is None:
        names.append("there are no times: the order of rows decides which interaction is the last")
    elif ties := _ties(data, rows):
        share = f"{ties:,} of {len(rows):,} ({ties / len(rows):.1%})"
        names.append(f"test rows that the order of rows decides, for another has the same time: {share}")
    if trained:
        names.append("the validation is trained on too: its metrics say nothing about the test")
    counts = (data.rows, schema.n_users, schema.n_items, schema.n_features)
    return replace(data, steps=(*data.steps, *(PreparationStep(name, *counts) for name in names)))


def _ties(data: Dataset, rows: Array) -> int:
    """How many of these last interactions of users are no later than another of the same user."""
    user, time = np.asarray(data.user), np.asarray(data.time)
    last = np.full(data.schema.n_users, np.iinfo(np.int64).max)
    last[user[rows]] = time[rows]
    return int((np.bincount(user[time == last[user]], minlength=len(last)) > 1).sum())
