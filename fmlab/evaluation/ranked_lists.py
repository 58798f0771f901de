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
from fmlab.data.batch import Features, Tables, as_features
from fmlab.data.histories import moments_of
from fmlab.data.model_inputs import ModelInputs, inputs_of_model
from fmlab.data.negative_sampling import UserItemSet
from fmlab.errors import DataError
from fmlab.evaluation.item_scorer import CandidateScorer, candidate_scorer
from fmlab.evaluation.list_figures import Lists, TrainedItems, asked, attributes_of, figures
from fmlab.evaluation.metrics import SAMPLED, rank_metric
from fmlab.evaluation.ranks import Ties, first_items, rank_among

log = logging.getLogger(__name__)

CELLS = 1 << 21
"""Scores of a block that ranks all items. On a CPU larger blocks leave the cache; a block has at least one case."""

LIST_CELLS = 1 << 23
"""The same where a list has all relevant items of a user: their ranks are counted `CELLS` at a time."""

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
        wanted = {part for metric in self.metrics.values() for part in asked(metric)}
        self.sampled = any(name.startswith(SAMPLED) for name in metrics)
        self.everything = not all(name.startswith(SAMPLED) for name in metrics)
        if self.sampled and candidates is None:
            raise DataError(f"metrics named {SAMPLED}... need sampled candidates, which this protocol does not draw")
        for name, metric in self.metrics.items():
            if name.startswith(SAMPLED) and "top" in asked(metric):
                raise DataError(f"{name} is of the first items among all; got the prefix {SAMPLED}")
        user = np.asarray(dataset.user)[rows]
        order = np.argsort(user, kind="stable")  # cases of one user stand together: it is scored once
        self.rows, self.user = np.asarray(rows)[order].astype(np.int64), user[order].astype(np.int64)
        self.item = torch.from_numpy(np.asarray(dataset.item)[self.rows].astype(np.int64))
        self.dataset, self.observed, self.ties, self.whole = dataset, observed, ties, by == "user"
        if self.whole and dataset.context is not None:
            raise DataError(f"a list for each user needs rows without context, which differs; {dataset.name!r} has it")
        self.begin = (
            np.r_[0, np.flatnonzero(self.user[1:] != self.user[:-1]) + 1] if self.whole else np.arange(len(user))
        )
        self.begin = np.r_[self.begin, len(user)]
        self.top = self._widest() if "top" in wanted else 0
        self.trained = TrainedItems.of(dataset, trained) if trained is not None and wanted else None
        self.attributes = attributes_of(dataset) if "attributes" in wanted else None
        self.gains = np.ones(len(user)) if gains is None else np.asarray(gains, np.float64)[self.rows]
        self._place_candidates(candidates, order)
        self._place_blocks(cells)

    def _widest(self) -> int:
        """The largest cut-off of a metric that asks for the first items."""
        return max((m.k or 1) for m in self.metrics.values() if "top" in asked(m))  # type: ignore[attr-defined]

    def _place_candidates(self, candidates: Tensor | None, order: Array) -> None:
        """Candidates in the order of lists, -1 where one is a relevant item of the list."""
        self.candidates: Tensor | None = None
        self.doubled = False
        lists, n_items = len(self.begin) - 1, self.observed.n_items
        if self.sampled and candidates is not None:
            found = (candidates if self.whole else candidates[torch.from_numpy(order)]).to(torch.int32)
            if len(found) != lists:
                raise DataError(f"there must be candidates for each of the {lists:,} lists, got {len(found):,}")
            widest = int(np.diff(self.begin).max())
            for place in range(widest):
                at = self.begin[:-1] + place
                same = found == self.item[torch.from_numpy(np.minimum(at, len(self.item) - 1))].unsqueeze(1)
                same[torch.from_numpy(at >= self.begin[1:])] = False
                if same.any():
                    self.doubled = True
                    found = found.masked_fill(same, -1)
            self.candidates = found
        met = self.observed.degree.numpy()[self.user[self.begin[:-1]]]
        relevant = self.observed.contains(torch.from_numpy(self.user), self.item).numpy()
        self.ranked = n_items - met + np.add.reduceat(relevant, self.begin[:-1])

    def _place_blocks(self, cells: int | None) -> None:
        """Where blocks begin: numbers of lists."""
        width = self.observed.n_items
        if self.candidates is not None and not self.everything:
            width = 1 + self.candidates.shape[1]
        usual = CELLS if self.everything else SAMPLED_CELLS
        self.size = max(1, (cells or usual) // width)  # cases whose ranks are counted at once
        lists = len(self.begin) - 1
        per_block = max(1, (cells or (LIST_CELLS if self.everything else usual)) // width) if self.whole else self.size
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
        user, which, context, more = self._queries(cases, scorer, tables)
        item = self.item[cases].to(device)
        candidates = None if self.candidates is None else self.candidates[lists].to(device, torch.int64)
        columns, top = {}, None
        if self.everything:
            scores = state.score_all(user, context, more)
            own = scores[which, item]
            if candidates is not None:
                of_list = which if self.whole else torch.arange(len(which), device=device)
                near = scores[
                    (torch.arange(len(user), device=device) if self.whole else which).unsqueeze(1), candidates
                ]
                columns[SAMPLED + "rank"] = self._near(near, candidates, own, item, of_list, lists)
            columns["rank"], top = self._rank_all(scores, user, which, item, own)
        else:
            assert candidates is not None
            of_list = which if self.whole else torch.arange(len(which), device=device)
            both = torch.cat([item.unsqueeze(1), candidates[of_list].clamp_min(0)], 1)
            found = state.score_items(user[which], context, both, more.cut(which))
            first = torch.from_numpy(self.begin[lists] - cases.start).to(device)
            columns[SAMPLED + "rank"] = self._near(found[first, 1:], candidates, found[:, 0], item, of_list, lists)
        unit = torch.arange(cases.start, cases.stop)
        columns = {name: rank.to("cpu", torch.float64) for name, rank in columns.items()}
        if top is not None:
            unit, columns = self._with_top(unit, columns, top, lists)
        return BlockResult(unit, columns)

    def scores(self, index: int, scorer: Any, tables: Tables, state: Any) -> BlockScores:
        """All scores of one block of lists, of which `block` gives the ranks."""
        lists = slice(int(self.blocks[index]), int(self.blocks[index + 1]))
        cases = slice(int(self.begin[lists.start]), int(self.begin[lists.stop]))
        user, which, context, more = self._queries(cases, scorer, tables)
        scores, unit = state.score_all(user, context, more).clone(), torch.arange(cases.start, cases.stop)
        own, deviation = scores[which, self.item[cases]], scores.double().std(1).mean().float()
        if self.candidates is not None:
            near = self.candidates[lists].to(torch.int64)
            of_list = which if self.whole else torch.arange(len(which))
            query = torch.arange(len(user)) if self.whole else which
            found = scores[query.unsqueeze(1), near.clamp_min(0)]
            ranked = near >= 0
            if self.whole:
                found, ranked = self._with_fellows(found, ranked, own, lists)
            return BlockScores(found, own, self.item[cases], of_list, unit, deviation, ranked)
        scores.view(-1).index_fill_(0, self._met(user), -torch.inf)
        if self.whole:
            scores[which, self.item[cases]] = own
        return BlockScores(scores, own, self.item[cases], which, unit, deviation)

    def _with_fellows(self, near: Tensor, ranked: Tensor, own: Tensor, lists: slice) -> tuple[Tensor, Tensor]:
        """Scores of candidates and, after them, of all relevant items of their list; and which of them count."""
        count = torch.from_numpy(np.diff(self.begin)[lists])
        fellows = own.new_zeros(len(count), int(count.max()))
        there = torch.arange(fellows.shape[1]) < count.unsqueeze(1)
        fellows[there] = own  # lists stand one after the other
        return torch.cat([near, fellows], 1), torch.cat([ranked, there], 1)

    def only(self, metric: str) -> "RankedLists":
        """A judge of the same lists that gives one of its metrics from ranks alone."""
        made = copy(self)
        made.metrics, made.top = {metric: self.metrics[metric]}, 0
        return made

    def _rank_all(
        self, scores: Tensor, user: Tensor, which: Tensor, item: Tensor, own: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Ranks of the cases among all items, and the first items of each list if they are asked for."""
        scores.view(-1).index_fill_(0, self._met(user), -torch.inf)
        top = None
        if self.whole:
            scores[which, item] = own
            top = first_items(scores, self.top) if self.top else None
        elif not self.top and self.ties == "expected" and len(user) == len(which):
            return rank_among(scores, own.unsqueeze(1)), None
        ranks, tops = [], []
        for low in range(0, len(which), self.size):
            cut = slice(low, low + self.size)
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

    def _near(
        self, near: Tensor, candidates: Tensor, own: Tensor, item: Tensor, of_list: Tensor, lists: slice
    ) -> Tensor:
        """Ranks among the candidates of each list, whose scores are `near[lists, n]`, and its other relevant items."""
        if self.doubled:
            near = near.masked_fill(candidates < 0, -torch.inf)
        others, numbers = near[of_list], candidates[of_list] if self.ties == "index" else None
        if self.whole:
            count = torch.from_numpy(np.diff(self.begin)[lists]).to(own.device)
            first = count.cumsum(0) - count
            place = torch.arange(len(own), device=own.device) - first[of_list]
            fellows = own.new_full((len(count), int(count.max())), -torch.inf)
            fellows[of_list, place] = own
            others = torch.cat([others, fellows[of_list]], 1)
            if numbers is not None:
                names = item.new_full(fellows.shape, -1)
                names[of_list, place] = item
                numbers = torch.cat([numbers, names[of_list]], 1)
        before = None if numbers is None else numbers < item.unsqueeze(1)
        return rank_among(others, own.unsqueeze(1), self.ties, itself=self.whole, before=before)

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
        unit, first = np.unique(unit, return_index=True)
        n = int(np.searchsorted(unit, len(self.rows)))
        case, shown = unit[:n], unit[n:] - len(self.rows)
        owner = np.searchsorted(self.begin, case, side="right") - 1
        lists, owner = np.unique(owner, return_inverse=True)
        row = self.rows[self.begin[lists]]
        order = np.argsort(row, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        tops = None
        if len(shown):
            of_list = np.searchsorted(lists, shown[:: self.top] // self.top)
            tops = np.empty((len(lists), self.top), np.int64)
            tops[place[of_list]] = columns["rank"][first[n:]].astype(np.int64).reshape(-1, self.top)
        values: dict[str, float] = {}
        units = {"row": row[order], "user": self.user[self.begin[lists]][order]}
        for kind in ("rank", SAMPLED + "rank"):
            metrics = {k: m for k, m in self.metrics.items() if k.startswith(SAMPLED) == kind.startswith(SAMPLED)}
            if not metrics:
                continue
            rank = columns[kind][first[:n]]
            sort = np.lexsort((rank, place[owner]))
            ranks = Ranks(rank[sort], np.r_[0, np.bincount(place[owner], minlength=len(lists)).cumsum()])
            candidates = self.ranked[lists][order] if kind == "rank" else self._drawn(lists)[order]
            item, gains = self.item.numpy()[case][sort], self.gains[case][sort]
            view = Lists(ranks, units["user"], candidates, item, gains, tops)
            found, each = figures(metrics, view, self.trained, self.attributes)
            values |= found
            units |= each
        return Report({name: values[name] for name in self.metrics}, units)

    def _drawn(self, lists: Array) -> Array:
        """How many items each list of candidates has, relevant ones included."""
        assert self.candidates is not None
        drawn = self.candidates[torch.from_numpy(lists)]
        return (drawn >= 0).sum(1).numpy() + np.diff(self.begin)[lists]

    def _queries(
        self, cases: slice, scorer: Any, tables: Tables
    ) -> tuple[Tensor, Tensor, Features | None, ModelInputs]:
        """Users `[Q]`, the query of each case, the queries' context, and what the scorer asks for of them.

        With a context, or with anything that a scorer asks for of a row, every case is its own query; but a list that
        has all relevant items of a user is one query, of the time of the earliest of them.
        """
        assert tables.items is not None
        device = tables.items.ids.device
        user, rows = torch.from_numpy(self.user[cases]).to(device), self.rows[cases]
        of_rows = self._of_rows(scorer)
        if self.whole or not of_rows:
            user, which = torch.unique_consecutive(user, return_inverse=True)
            if not of_rows:
                return user, which, None, tables.query(scorer, user, None)
            earliest = np.lexsort((moments_of(self.dataset, rows), self.user[cases]))
            rows = rows[earliest[np.searchsorted(self.user[cases], user.cpu().numpy())]]
            return user, which, None, tables.query(scorer, user, torch.from_numpy(rows).to(device))
        context = None
        if self.dataset.context is not None:
            context = as_features(self.dataset.context.take(rows)).to(device)
        given = tables.query(scorer, user, torch.from_numpy(rows).to(device))
        return user, torch.arange(len(user), device=device), context, given

    def _of_rows(self, scorer: Any) -> bool:
        """Whether a query is more than its user."""
        names, beside = inputs_of_model(scorer).keys(), any(f.side == "context" for f in self.dataset.schema.auxiliary)
        return self.dataset.context is not None or bool(names - {"vectors"}) or (bool(names) and beside)

    def _met(self, user: Tensor) -> Tensor:
        """Places in the scores `[Q, items]` of what each query's user has met."""
        at = user.cpu()
        count, begin = self.observed.degree[at], self.observed.offsets[at]
        shift = begin - count.cumsum(0) + count  # from places in the list to places in `observed.items`
        query = torch.repeat_interleave(torch.arange(len(at)), count)
        items = self.observed.items[torch.arange(len(query)) + shift[query]]
        return (query * self.observed.n_items + items).to(user.device)
