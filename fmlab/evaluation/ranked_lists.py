"""Ranks of test items among all items that a user may be shown, and among sampled ones."""

import logging
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fmlab.contracts import BlockResult, Ranks, Report
from fmlab.data import Array, Dataset
from fmlab.data.batch import Tables
from fmlab.data.negative_sampling import UserItemSet
from fmlab.errors import DataError
from fmlab.evaluation.item_scorer import CandidateScorer, candidate_scorer
from fmlab.evaluation.list_metrics import Lists, TrainedItems, attributes_of, list_metric_values, views_of
from fmlab.evaluation.metric_names import SAMPLED, rank_metric
from fmlab.evaluation.ranking_queries import RankingQueries
from fmlab.evaluation.ranks import Ties, distinct_units, first_items, rank_among
from fmlab.evaluation.sampled_candidates import SampledCandidates

log = logging.getLogger(__name__)

CELLS = 1 << 21
"""Scores of a block that ranks all items. On a CPU larger blocks leave the cache; a block has at least one case."""

LIST_CELLS = 1 << 23
"""The same where a list has all relevant items of a user."""

COPIED_CELLS = 1 << 19
"""Scores copied at once where cases share a query: larger copies give their memory back, and getting it is slow."""

SAMPLED_CELLS = 1 << 16
"""Scores of a block that ranks sampled candidates only: each may need a vector of its own."""


class BlockScores(NamedTuple):
    """What a model gives one block: `scores[queries, items]`, those that are not ranked at -inf, and of each relevant
    item its score `own`, its number `item`, its query `which` and its `unit`; the `deviation` over items is the mean of
    the queries.

    With sampled candidates, the columns are these, and a query is a list; `ranked[queries, n]` are those that count.
    """

    scores: Tensor
    own: Tensor
    item: Tensor
    which: Tensor
    unit: Tensor
    deviation: Tensor
    ranked: Tensor | None = None


class RankedLists:
    """Judges a model by the ranks of relevant items; these are rows of the data set.

    `by="row"`: each row is a list of its own with one relevant item, ranked among the items that are not `observed` of
    its user. `by="user"`: a list has all relevant items of a user, ranked among themselves and what is not `observed`.
    Users without relevant items have no list.
    `candidates[rows or users, n]`: sampled items; metrics named `sampled_...` are over these and the relevant items.
    The others are over all items. A candidate that is a relevant item of its list does not count. Only what the
    metrics ask for is computed, in memory for the ranks, and for k items of a list where a metric wants the first k.

    `Report.units` holds, for each list, `row` (the first of its rows), `user` and the value of every metric that is a
    mean, in the order of rows: lists of one user are not independent, so that tests should first average over `user`.
    """

    def __init__(
        self,
        dataset: Dataset,
        rows: Array,
        observed: UserItemSet,
        metrics: Sequence[str],
        *,
        by: Literal["row", "user"] = "row",
        candidates: Tensor | None = None,
        ties: Ties = "expected",
        trained: Array | None = None,
        gains: Array | None = None,
        cells: int | None = None,
    ) -> None:
        """`observed`: what is not ranked, unless relevant. `trained`: training rows, for metrics of popularity.

        `candidates` of users are in ascending order of the users who have rows. `gains[rows of the data set]`.
        """
        assert dataset.user is not None
        assert dataset.item is not None
        self.metrics = {name: rank_metric(name) for name in metrics}
        wanted = {part for metric in self.metrics.values() for part in views_of(metric)}
        self.sampled = any(name.startswith(SAMPLED) for name in metrics)
        self.everything = not all(name.startswith(SAMPLED) for name in metrics)
        if self.sampled and candidates is None:
            raise DataError(f"metrics named {SAMPLED}... need sampled candidates, which this protocol does not draw")
        for name, metric in self.metrics.items():
            if name.startswith(SAMPLED) and "top" in views_of(metric):
                raise DataError(f"{name} is of the first items among all; got the prefix {SAMPLED}")
        user = np.asarray(dataset.user)[rows]
        order = np.argsort(user, kind="stable")  # cases of one user stand together: it is scored once
        self.rows, self.user = np.asarray(rows)[order].astype(np.int64), user[order].astype(np.int64)
        self.item = torch.from_numpy(np.asarray(dataset.item)[self.rows].astype(np.int64))
        self.dataset, self.observed, self.ties, self.whole = dataset, observed, ties, by == "user"
        if self.whole and dataset.context is not None:
            raise DataError(f"a list for each user needs rows without context, which differs; {dataset.name!r} has it")
        self.queries = RankingQueries(dataset, observed, self.rows, self.user, self.whole)
        begins = np.r_[True, self.user[1:] != self.user[:-1]][: len(user)] | (not self.whole)
        self.begin = np.r_[np.flatnonzero(begins), len(user)]
        self.top = self._widest() if "top" in wanted else 0
        self.trained = TrainedItems.of(dataset, trained) if trained is not None and wanted else None
        self.attributes = attributes_of(dataset) if "attributes" in wanted else None
        self.gains = np.ones(len(user)) if gains is None else np.asarray(gains, np.float64)[self.rows]
        self._place_candidates(candidates, order)
        self._place_blocks(cells)

    def _widest(self) -> int:
        """The largest cut-off of a metric that asks for the first items."""
        return max((m.k or 1) for m in self.metrics.values() if "top" in views_of(m))  # type: ignore[attr-defined]

    def _place_candidates(self, candidates: Tensor | None, order: Array) -> None:
        """Candidates in the order of lists, and the number of items in each list that ranks all."""
        self._sampled: SampledCandidates | None = None
        if self.sampled and candidates is not None:
            found = (candidates if self.whole else candidates[torch.from_numpy(order)]).to(torch.int32)
            self._sampled = SampledCandidates.of(found, self.item, self.begin, by_user=self.whole, ties=self.ties)
        n_items = self.observed.n_items
        met = self.observed.degree.numpy()[self.user[self.begin[:-1]]]
        relevant = self.observed.contains(torch.from_numpy(self.user), self.item).numpy()
        self.ranked = n_items - met + np.add.reduceat(relevant, self.begin[:-1])

    @property
    def candidates(self) -> Tensor | None:
        """Sampled items of each list, int32[lists, n], -1 for relevant ones; None without."""
        return None if self._sampled is None else self._sampled.ids

    def _place_blocks(self, cells: int | None) -> None:
        """Where blocks begin: numbers of lists."""
        width = self.observed.n_items
        if self.candidates is not None and not self.everything:
            width = 1 + self.candidates.shape[1]
        usual = SAMPLED_CELLS
        if self.everything:
            usual = LIST_CELLS if self.whole else CELLS
        lists, per_block = len(self.begin) - 1, max(1, (cells or usual) // width)
        self.blocks = np.r_[np.arange(0, lists, per_block), lists]
        if self.everything and (k := max((getattr(m, "k", None) or 1) for m in self.metrics.values())) > width:
            log.warning("a metric looks at the first %s of %s items: the rest of its places stays empty", k, width)

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self.blocks) - 1

    @torch.no_grad()
    def start(self, scorer: Any, tables: Tables) -> CandidateScorer:
        """Vectors or states of all items."""
        return candidate_scorer(scorer, tables)

    @torch.no_grad()
    def block(self, index: int, scorer: Any, tables: Tables, state: Any) -> BlockResult:
        """Ranks of one block of lists; raises FmlabError if a score is not finite.

        A unit is a relevant item, with its rank; units from their number on are places of the first k items of lists,
        with the item's number in place of a rank.
        """
        assert tables.items is not None
        lists = slice(int(self.blocks[index]), int(self.blocks[index + 1]))
        cases = slice(int(self.begin[lists.start]), int(self.begin[lists.stop]))
        device = tables.items.ids.device
        user, which, context, more = self.queries.of(cases, scorer, tables)
        item = self.item[cases].to(device)
        sampled = self._sampled
        candidates = None if sampled is None else sampled.ids[lists].to(device, torch.int64)
        columns, top = {}, None
        if self.everything:
            scores = state.score_all(user, context, more)
            own = scores[which, item]
            if sampled is not None and candidates is not None:
                of_list = which if self.whole else torch.arange(len(which), device=device)
                query = torch.arange(len(user), device=device) if self.whole else which
                near = scores[query.unsqueeze(1), candidates]
                columns[SAMPLED + "rank"] = sampled.ranks(near, candidates, own, item, of_list, lists)
            columns["rank"], top = self._rank_all(scores, user, which, item, own)
        else:
            assert sampled is not None
            assert candidates is not None
            of_list = which if self.whole else torch.arange(len(which), device=device)
            both = torch.cat([item.unsqueeze(1), candidates[of_list].clamp_min(0)], 1)
            found = state.score_items(user[which], context, both, more.cut(which))
            first = torch.from_numpy(self.begin[lists] - cases.start).to(device)
            columns[SAMPLED + "rank"] = sampled.ranks(found[first, 1:], candidates, found[:, 0], item, of_list, lists)
        unit = torch.arange(cases.start, cases.stop)
        columns = {name: rank.to("cpu", torch.float64) for name, rank in columns.items()}
        if top is not None:
            unit, columns = self._with_top(unit, columns, top, lists)
        return BlockResult(unit, columns)

    def scores(self, index: int, scorer: Any, tables: Tables, state: Any) -> BlockScores:
        """All scores of one block of lists, of which `block` gives the ranks."""
        lists = slice(int(self.blocks[index]), int(self.blocks[index + 1]))
        cases = slice(int(self.begin[lists.start]), int(self.begin[lists.stop]))
        user, which, context, more = self.queries.of(cases, scorer, tables)
        scores, unit = state.score_all(user, context, more).clone(), torch.arange(cases.start, cases.stop)
        own, deviation = scores[which, self.item[cases]], scores.double().std(1).mean().float()
        if self._sampled is not None:
            near = self._sampled.ids[lists].to(torch.int64)
            of_list = which if self.whole else torch.arange(len(which))
            query = torch.arange(len(user)) if self.whole else which
            found = scores[query.unsqueeze(1), near.clamp_min(0)]
            ranked = near >= 0
            if self.whole:
                found, ranked = self._sampled.with_relevant(found, ranked, own, lists)
            return BlockScores(found, own, self.item[cases], of_list, unit, deviation, ranked)
        scores.view(-1).index_fill_(0, self.queries.observed_cells(user), -torch.inf)
        if self.whole:
            scores[which, self.item[cases]] = own
        return BlockScores(scores, own, self.item[cases], which, unit, deviation)

    def only(self, metric: str) -> "RankedLists":
        """An evaluator of the same lists that gives one of its metrics from ranks alone."""
        made = copy(self)
        made.metrics, made.top = {metric: self.metrics[metric]}, 0
        return made

    def _rank_all(
        self, scores: Tensor, user: Tensor, which: Tensor, item: Tensor, own: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Ranks of the cases among all items, and the first items of each list if they are asked for."""
        scores.view(-1).index_fill_(0, self.queries.observed_cells(user), -torch.inf)
        top = None
        if self.whole:
            scores[which, item] = own
            top = first_items(scores, self.top) if self.top else None
        elif not self.top and self.ties == "expected" and len(user) == len(which):
            return rank_among(scores, own.unsqueeze(1)), None
        ranks, tops = [], []
        step = max(1, COPIED_CELLS // scores.shape[1])
        for low in range(0, len(which), step):
            cut = slice(low, low + step)
            others = scores.index_select(0, which[cut])
            if self.top and not self.whole:
                others.scatter_(1, item[cut].unsqueeze(1), own[cut].unsqueeze(1))
                tops.append(first_items(others, self.top))
            before = None
            if self.ties == "index":
                before = torch.arange(others.shape[1], device=item.device) < item[cut].unsqueeze(1)
            itself = self.whole or bool(self.top)
            ranks.append(rank_among(others, own[cut].unsqueeze(1), self.ties, itself=itself, before=before))
        return torch.cat(ranks), torch.cat(tops) if tops else top

    def _with_top(
        self, unit: Tensor, columns: dict[str, Tensor], top: Tensor, lists: slice
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The block with the first items of its lists behind its ranks."""
        first = len(self.rows) + lists.start * self.top
        more = torch.arange(first, first + top.numel())
        flat = top.reshape(-1).to("cpu", torch.float64)
        nothing = torch.full_like(flat, torch.nan)
        joined = {n: torch.cat([c, flat if n == "rank" else nothing]) for n, c in columns.items()}
        return torch.cat([unit, more]), joined

    def chosen(self, unit: Array, mask: Array) -> Array:
        """Which units are of the relevant items in `mask[rows]`, or of lists that have one of these."""
        lists = np.add.reduceat(mask, self.begin[:-1]) > 0
        case = unit < len(self.rows)
        of_list = np.where(case, 0, (unit - len(self.rows)) // max(1, self.top))
        return np.where(case, mask[np.where(case, unit, 0)], lists[of_list])

    def finish(self, unit: Array, columns: Mapping[str, Array]) -> Report:
        """Means over lists, each counted once."""
        unit, first = distinct_units(unit)
        n = int(np.searchsorted(unit, len(self.rows)))
        case, shown = unit[:n], unit[n:] - len(self.rows)
        owner = np.searchsorted(self.begin, case, side="right") - 1
        begins = np.r_[True, owner[1:] != owner[:-1]][: len(owner)]  # cases ascend, and so do their owners
        lists, owner = owner[begins], begins.cumsum() - 1
        row = self.rows[self.begin[lists]]
        order = np.argsort(row, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        tops = None
        if len(shown):
            of_list = np.searchsorted(lists, shown[:: self.top] // self.top)
            tops = np.empty((len(lists), self.top), np.int64)
            tops[place[of_list]] = columns["rank"][first][n:].astype(np.int64).reshape(-1, self.top)
        values: dict[str, float] = {}
        units = {"row": row[order], "user": self.user[self.begin[lists]][order]}
        for kind in ("rank", SAMPLED + "rank"):
            metrics = {k: m for k, m in self.metrics.items() if k.startswith(SAMPLED) == kind.startswith(SAMPLED)}
            if not metrics:
                continue
            rank = columns[kind][first][:n]
            sort = order if len(lists) == n else np.lexsort((rank, place[owner]))
            ranks = Ranks(rank[sort], np.r_[0, np.bincount(place[owner], minlength=len(lists)).cumsum()])
            candidates = self.ranked[lists][order] if kind == "rank" else self._sampled.sizes(lists)[order]  # type: ignore[union-attr]
            item, gains = self.item.numpy()[case][sort], self.gains[case][sort]
            view = Lists(ranks, units["user"], candidates, item, gains, tops)
            found, each = list_metric_values(metrics, view, self.trained, self.attributes)
            values |= found
            units |= each
        return Report({name: values[name] for name in self.metrics}, units)
