"""The best items for queries: the matrix product that evaluation ranks with, without what the users have met."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.batch import Features, Tables
from fmlab.data import Array, Dataset
from fmlab.evaluation.catalogue import catalogue
from fmlab.evaluation.ranking import CELLS
from fmlab.labels import is_binary
from fmlab.protocols import TwoSided
from fmlab.sampling import Observed

Met = tuple[Array, Array]  # places of queries and of items


class Interactions:
    """What every user has met, by text, in all rows, also those that a protocol drops.

    Rows that hold their own negatives, labels 0/1 or -1/1, count where the label is 1; what a user rated counts
    whatever the rating.
    """

    def __init__(self, source: Dataset, dataset: Dataset) -> None:
        """`source`: all rows; `dataset`: the items that are ranked."""
        assert source.user is not None
        assert source.item is not None
        users, items = (source.keys[_id_field(source, side)].tolist() for side in ("user", "item"))
        ranked = {key: at for at, key in enumerate(dataset.keys[_id_field(dataset, "item")].tolist())}
        place = np.array([ranked.get(key, -1) for key in items], np.int64)
        met = place[np.asarray(source.item)] >= 0
        if is_binary(source.label):
            met &= np.asarray(source.label) > 0
        rows = np.flatnonzero(met)
        self.users = {key: at for at, key in enumerate(users)}
        item = place[np.asarray(source.item)[rows]]
        self.observed = Observed(np.asarray(source.user)[rows], item, len(users), len(ranked))

    def of(self, users: Sequence[str | None]) -> Met:
        """Places of the users in the sequence, and of the items that each has met."""
        offsets, items = self.observed.offsets.numpy(), self.observed.items.numpy()
        known = [(n, self.users[u]) for n, u in enumerate(users) if u is not None and u in self.users]
        parts = [items[offsets[at] : offsets[at + 1]] for _, at in known]
        query = np.repeat([n for n, _ in known], [len(p) for p in parts]).astype(np.int64)
        return query, np.concatenate([*parts, np.zeros(0, np.int64)])


class Ranker:
    """All items, ready to be ranked for queries."""

    @torch.no_grad()
    def __init__(self, model: nn.Module, dataset: Dataset) -> None:
        """`dataset` must have items; their vectors or states are computed here."""
        # Without a table of users, queries are given whole: those of unknown users too.
        self.model, self.tables = model, Tables(None, Tables.of(dataset).items)
        self.catalogue, self.n_items = catalogue(model, self.tables), dataset.schema.n_items

    def blocks(self, queries: int) -> Iterator[slice]:
        """Slices of queries of which all scores are held at once."""
        size = max(1, CELLS // self.n_items)
        return (slice(low, min(low + size, queries)) for low in range(0, queries, size))

    @torch.no_grad()
    def top(self, queries: Features, k: int, met: Met | None = None) -> tuple[Array, Array, Array]:
        """Of each query the `k` items of the highest scores: places of queries, of items, and the scores (float32).

        `queries[Q, columns]`: user and context. In the order of queries and falling scores, of equal ones in the order
        of items; fewer than `k` where fewer are left. Raises FmlabError if a score is not finite.
        """
        rows = torch.arange(len(queries.ids))
        scores = self.catalogue.every(rows, queries)
        if met is not None:
            scores[torch.from_numpy(met[0]), torch.from_numpy(met[1])] = -torch.inf
        least = scores.topk(min(k, self.n_items), 1).values[:, -1:]
        query, item = ((scores >= least) & (scores > -torch.inf)).nonzero(as_tuple=True)  # ascending; ties make more
        value = scores[query, item]
        order = torch.argsort(value, descending=True, stable=True)
        order = order[torch.argsort(query[order], stable=True)]
        query, item = query[order], item[order]
        count = torch.bincount(query, minlength=len(rows))
        rank = torch.arange(len(query)) - (count.cumsum(0) - count)[query]
        query, item, value = (t[rank < k] for t in (query, item, value[order]))
        return query.numpy(), item.numpy(), self._finished(queries, query, value).float().numpy()

    def _finished(self, queries: Features, query: Tensor, value: Tensor) -> Tensor:
        """The scores as `forward` gives them: ranking leaves out what is the same for all items of a query."""
        if not isinstance(self.model, TwoSided):
            return value
        bias, _ = self.model.user(*queries)
        return self.model.link(value + bias[query])


def _id_field(dataset: Dataset, side: str) -> str:
    return next(f.name for f in dataset.schema.fields if f.side == side)
