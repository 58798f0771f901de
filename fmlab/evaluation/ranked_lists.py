"""Ranks of test items among all items that the user has not met, and among sampled ones.

The rank of an item with score s is expected over ties: 1 + #(above s) + (#(equal to s) - 1) / 2, so that a constant
scorer stands in the middle. Nothing is sorted: with M items, of which those not to be ranked are set to -inf,

    sum over items of sign(score - s) = #above - (M - #above - #equal)   =>   rank = 1 + (M + sum of signs) / 2

once the item itself is among those at -inf.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fmlab.contracts import BlockResult, Report
from fmlab.data import Array, Dataset
from fmlab.data.batch import Features, Tables, as_features
from fmlab.data.negatives import UserItemSet
from fmlab.errors import DataError, FmlabError
from fmlab.evaluation.item_scorer import CandidateScorer, catalogue
from fmlab.evaluation.metrics import SAMPLED, rank_metric

CELLS = 1 << 21
"""Scores of a block that ranks all items. On a CPU larger blocks leave the cache; a block has at least one case."""

SAMPLED_CELLS = 1 << 16
"""Scores of a block that ranks sampled candidates only: each may need a vector of its own."""

_EXACT = 1 << 24  # sums of signs up to this number are exact in float32


class RankedLists:
    """Judges a model by the rank of each test case's item; the cases are rows of the data set.

    Ranked are the items that the case's user has not met in train, validation or test, and the item itself.
    `candidates[cases, n]`: sampled unobserved items; metrics named `sampled_...` are over these and the item. The
    others are over all items. Only what the metrics ask for is computed. The item itself among its candidates, as in
    some published lists, does not count.

    `Report.units` holds, for each case in row order, `row`, `user` and the value of every metric: cases of one user
    are not independent, so that tests should first average over `user`.
    """

    def __init__(
        self,
        dataset: Dataset,
        rows: Array,
        observed: UserItemSet,
        metrics: Sequence[str],
        *,
        candidates: Tensor | None = None,
        cells: int | None = None,
    ) -> None:
        """`observed`: all interactions of the data set, whatever their part."""
        assert dataset.user is not None
        assert dataset.item is not None
        self.metrics = {name: rank_metric(name) for name in metrics}
        self.sampled = any(name.startswith(SAMPLED) for name in metrics)
        self.everything = not all(name.startswith(SAMPLED) for name in metrics)
        if self.sampled and candidates is None:
            raise DataError(f"metrics named {SAMPLED}... need sampled candidates, which this protocol does not draw")
        user = np.asarray(dataset.user)[rows]
        order = np.argsort(user, kind="stable")  # cases of one user stand together: it is scored once
        self.rows, self.user = np.asarray(rows)[order].astype(np.int64), user[order].astype(np.int64)
        self.item = torch.from_numpy(np.asarray(dataset.item)[self.rows].astype(np.int64))
        self.candidates: Tensor | None = None
        self.doubled = False
        if self.sampled and candidates is not None:
            self.candidates = candidates[torch.from_numpy(order)].to(torch.int32)
            self.doubled = bool((self.candidates == self.item.unsqueeze(1)).any())
        self.dataset, self.observed = dataset, observed
        width = observed.n_items
        if self.candidates is not None and not self.everything:
            width = 1 + self.candidates.shape[1]
        self.size = max(1, (cells or (CELLS if self.everything else SAMPLED_CELLS)) // width)

    def __len__(self) -> int:
        """Number of blocks."""
        return -(-len(self.rows) // self.size)

    @torch.no_grad()
    def start(self, scorer: Any, tables: Tables) -> CandidateScorer:
        """Vectors or states of all items."""
        return catalogue(scorer, tables)

    @torch.no_grad()
    def block(self, index: int, scorer: Any, tables: Tables, state: Any) -> BlockResult:
        """Ranks of one block of cases; raises FmlabError if a score is not finite."""
        assert tables.items is not None
        cases = slice(index * self.size, min((index + 1) * self.size, len(self.rows)))
        device = tables.items.ids.device
        user, which, context = self._queries(cases, device)
        item = self.item[cases].to(device)
        candidates = None if self.candidates is None else self.candidates[cases].to(device, torch.int64)
        columns = {}
        if self.everything:
            scores = state.every(user, context)
            own = scores[which, item].unsqueeze(1)
            if candidates is not None:
                columns[SAMPLED + "rank"] = _rank(self._others(scores[which.unsqueeze(1), candidates], cases), own)
            scores.view(-1).index_fill_(0, self._met(user), -torch.inf)
            columns["rank"] = _rank(scores if len(user) == len(which) else scores.index_select(0, which), own)
        else:
            assert candidates is not None
            scores = state.some(user[which], context, torch.cat([item.unsqueeze(1), candidates], 1))
            columns[SAMPLED + "rank"] = _rank(self._others(scores[:, 1:], cases), scores[:, :1])
        unit = torch.arange(cases.start, cases.stop)
        return BlockResult(unit, {name: rank.to("cpu", torch.float64) for name, rank in columns.items()})

    def finish(self, unit: Array, columns: Mapping[str, Array]) -> Report:
        """Means over cases, each counted once."""
        unit, first = np.unique(unit, return_index=True)
        order = np.argsort(self.rows[unit], kind="stable")
        units = {"row": self.rows[unit][order], "user": self.user[unit][order]}
        for name, metric in self.metrics.items():
            rank = columns[SAMPLED + "rank" if name.startswith(SAMPLED) else "rank"]
            units[name] = metric.of_ranks(rank[first][order])
            if np.shape(units[name]) != rank[first].shape:
                raise FmlabError(
                    f"of_ranks of {name} must give one value a rank {rank[first].shape}, got {np.shape(units[name])}"
                )
        return Report({name: float(units[name].mean()) for name in self.metrics}, units)

    def _queries(self, cases: slice, device: torch.device) -> tuple[Tensor, Tensor, Features | None]:
        """Users `[Q]`, the query of each case, and the queries' context: with one, every case is its own query."""
        user = torch.from_numpy(self.user[cases]).to(device)
        if self.dataset.context is not None:
            context = as_features(self.dataset.context.take(self.rows[cases])).to(device)
            return user, torch.arange(len(user), device=device), context
        return *torch.unique_consecutive(user, return_inverse=True), None

    def _others(self, scores: Tensor, cases: slice) -> Tensor:
        """The candidates' scores, lowest where the candidate is the item itself."""
        if self.doubled and self.candidates is not None:
            same = self.candidates[cases] == self.item[cases].unsqueeze(1)
            scores.masked_fill_(same.to(scores.device), -torch.inf)
        return scores

    def _met(self, user: Tensor) -> Tensor:
        """Places in the scores `[Q, items]` of what each query's user has met; the case's own item is among them."""
        at = user.cpu()
        count, begin = self.observed.degree[at], self.observed.offsets[at]
        shift = begin - count.cumsum(0) + count  # from places in the list to places in `observed.items`
        query = torch.repeat_interleave(torch.arange(len(at)), count)
        items = self.observed.items[torch.arange(len(query)) + shift[query]]
        return (query * self.observed.n_items + items).to(user.device)


def _rank(others: Tensor, own: Tensor) -> Tensor:
    """Expected rank of `own[n, 1]` among itself and `others[n, m]`, which are overwritten."""
    n = others.shape[1]
    signs = others.sub_(own).sign_().sum(1, dtype=torch.float64 if n > _EXACT else torch.float32)
    return 1 + (n + signs.double()) / 2
