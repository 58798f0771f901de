"""The best items for queries: the matrix product that evaluation ranks with, without what the users have met."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.contracts import is_two_sided
from fmlab.data import Array
from fmlab.data.batch import Features, Tables, as_features
from fmlab.data.model_inputs import NO_INPUTS, ModelInputs
from fmlab.errors import DataError
from fmlab.evaluation.item_scorer import candidate_scorer
from fmlab.evaluation.ranked_lists import CELLS
from fmlab.run.seen_items import Met
from fmlab.run.serving_data import ServingData
from fmlab.serving.row_inputs import RowInputs

BUCKETS = 64  # of all items, for each item of a list: more make the bound closer
SAME = 1e-5  # of the largest score: a difference that rounding makes


class Found(NamedTuple):
    """Places of queries, of items, and scores, of all lists one after the other. `cold[queries]`: ranked by popularity,
    the score is the number of training interactions."""

    query: Array
    item: Array
    score: Array
    cold: Array


def best_of(scores: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `k` largest of each row of `scores[Q, n]`: places of rows, of columns, and values, rows one after the other.

    They fall within a row; equal ones stand in the order of columns. What is -inf is left out.
    """
    row, column, value = _candidates(scores, min(k, scores.shape[1]))
    order = torch.argsort(value, descending=True, stable=True)
    if len(scores) > 1:
        order = order[torch.argsort(row[order], stable=True)]
    row, column, value = row[order], column[order], value[order]
    count = torch.bincount(row, minlength=len(scores))
    rank = torch.arange(len(row)) - (count.cumsum(0) - count)[row]
    return row[rank < k], column[rank < k], value[rank < k]


def _candidates(scores: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, columns and values of what may be among the `k` largest of each row, columns of a row in their order.

    The k-th largest of the maxima of parts is reached by `k` scores, and by hardly more; only parts whose maximum
    reaches it are looked at again. So large rows are read once, where their k-th largest would take several passes.
    """
    parts, low = BUCKETS * k, torch.finfo(scores.dtype).min
    width = scores.shape[1] // parts
    if width < 2:
        least = scores.topk(k, 1).values[:, -1:].clamp_min(low)
        row, column = (scores >= least).nonzero(as_tuple=True)
        return row, column, scores[row, column]
    divided, rest = scores[:, : parts * width].reshape(len(scores), parts, width), scores[:, parts * width :]
    best = divided.amax(2)
    least = best.topk(k, 1).values[:, -1:].clamp_min(low)
    row, part = (best >= least).nonzero(as_tuple=True)
    looked = divided[row, part]
    at, within = (looked >= least[row]).nonzero(as_tuple=True)
    found = row[at], part[at] * width + within, looked[at, within]
    row, column = (rest >= least).nonzero(as_tuple=True)
    after = row, column + parts * width, rest[row, column]
    return tuple(torch.cat(two) for two in zip(found, after, strict=True))  # type: ignore[return-value]


class Ranker:
    """All items, ready to be ranked for queries."""

    @torch.no_grad()
    def __init__(self, model: nn.Module, data: ServingData, model_inputs: RowInputs | None = None) -> None:
        """The vectors or states of the items are computed here; raises DataError where there are none."""
        if data.items is None:
            raise DataError(f"the rows of {data.name!r} have no items to rank")
        # Without a table of users, queries are given whole: those of unknown users too.
        model_inputs = model_inputs or RowInputs(model, data)
        self.model, self.model_inputs = model, model_inputs
        self.tables = Tables(None, as_features(data.items), model_inputs.auxiliary if model_inputs.names else None)
        self.scorer, self.n_items = candidate_scorer(model, self.tables), len(data.items.ids)
        self.popularity = None if data.popularity is None else torch.from_numpy(data.popularity)
        schema = data.schema
        ids = [schema.offsets[schema.column_field[c]] for c in range(schema.query.stop)]
        ones = torch.ones(1, len(ids)) if schema.numeric else None
        self.nobody = Features(torch.tensor([ids], dtype=torch.int32), ones)
        self._nobody: Tensor | None = None

    def blocks(self, queries: int) -> Iterator[slice]:
        """Slices of queries of which all scores are held at once."""
        size = max(1, CELLS // self.n_items)
        return (slice(low, min(low + size, queries)) for low in range(0, queries, size))

    @torch.no_grad()
    def top(
        self,
        queries: Features,
        k: int,
        met: Met | None = None,
        fresh: Array | None = None,
        given: ModelInputs = NO_INPUTS,
    ) -> Found:
        """Of each query the `k` items of the highest scores (float32, or float64 if the model computes so).

        `queries[Q, columns]`: user and context. In the order of queries and falling scores, of equal ones in the order
        of items; fewer than `k` where fewer are left. `given`: what the model asks for of them.

        `fresh[Q]`: users without training interactions; where the model does not tell such a query from one of which
        nothing is known, popularity ranks. Raises FmlabError if a score is not finite.
        """
        cold = self._cold(queries, fresh, given)
        scores = self.scorer.score_all(torch.arange(len(queries.ids)), queries, given)
        if self.popularity is not None and cold.any():
            scores[cold] = self.popularity.to(scores.dtype)
        if met is not None:
            scores[torch.from_numpy(met[0]), torch.from_numpy(met[1])] = -torch.inf
        query, item, value = best_of(scores, k)
        value = torch.where(cold[query], value, self._finished(queries, query, value, given).to(value.dtype))
        value = value if value.dtype == torch.float64 else value.float()
        return Found(query.numpy(), item.numpy(), value.numpy(), cold.numpy())

    def _cold(self, queries: Features, fresh: Array | None, given: ModelInputs) -> Tensor:
        """Which queries the model cannot tell from one of which nothing is known, whatever it says of the user's id."""
        cold = torch.zeros(len(queries.ids), dtype=torch.bool)
        if fresh is None or self.popularity is None or not fresh.any():
            return cold
        at = torch.from_numpy(np.flatnonzero(fresh))
        ids = queries.ids[at].clone()
        ids[:, 0] = self.nobody.ids[0, 0]
        values = None if queries.values is None else queries.values[at]
        if self._nobody is None:
            nothing = self.model_inputs.query(None, np.full(1, -1), 0, {})
            self._nobody = self.scorer.score_all(torch.arange(1), self.nobody, nothing).clone()
        away = self.scorer.score_all(torch.arange(len(at)), Features(ids, values), given.cut(at)) - self._nobody
        away -= away.mean(1, keepdim=True)  # what is the same for all items changes no order
        cold[at] = away.abs().amax(1) <= SAME * self._nobody.abs().max()
        return cold

    def _finished(self, queries: Features, query: Tensor, value: Tensor, given: ModelInputs) -> Tensor:
        """The scores as `forward` gives them: ranking leaves out what is the same for all items of a query."""
        if not is_two_sided(self.model):
            return value
        bias = getattr(self.scorer, "bias", None)  # of these queries, which were encoded just now
        if bias is None:
            bias, _ = self.model.encode_query(*queries, **given.named(self.model.encode_query))
        return self.model.link(value + bias[query])
