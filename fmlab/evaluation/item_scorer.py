"""Scores of all items, or of some, for queries, by the cheapest exact path that the scorer offers.

| scorer                       | done once          | for a block of queries                                  |
|------------------------------|--------------------|---------------------------------------------------------|
| `PlantedScorer` (indices)          | -                  | one matrix product                                      |
| `AddsScores`                 | that of its models | the weighted sum of the scores of its models            |
| `ScoresCatalog`              | -                  | its own scores of all items                             |
| `TwoSided`                   | all item vectors   | one matrix product; the link increases, so it is left out |
| `LateInteraction`                  | all item states    | query states, then `interact` in chunks                  |
| any other model              | -                  | `forward` of whole rows in chunks                       |

A path may drop terms that are constant over the items of a query, so all paths rank alike. `ranked_lists` turns scores
into ranks (`ranks`), and `fmlab.serving.ranking` into recommendations.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from fmlab.contracts import AddsScores, ScoresCatalog, is_late_interaction, is_two_sided
from fmlab.data import Dataset, PlantedScores
from fmlab.data.batch import Features, Tables
from fmlab.data.model_inputs import NO_INPUTS, ModelInputs, history_length, inputs_of_model
from fmlab.errors import FmlabError
from fmlab.nn.scoring import rows_of

ROWS = {"cpu": 1 << 14, "cuda": 1 << 17}
"""Rows scored at once by models that do not decompose."""

NUMBERS = {"cpu": 1 << 22, "cuda": 1 << 26}
"""Numbers in the widest state of the rows scored at once, for the same models."""

VECTORS_PER_COPY = 50
"""One product scores this many items in the time of gathering and scoring one item's vector."""

WIDTH = 64
"""Numbers that a model is assumed to hold of each item of a history."""

KEPT = 1 << 28  # numbers of item states that are kept; states of more are computed again for each block


class PlantedScorer:
    """The planted score of a synthetic data set, on indices instead of features: the best that a model can do."""

    def __init__(self, truth: PlantedScores) -> None:
        self.user, self.item = torch.tensor(truth.user), torch.tensor(truth.item)
        self.user_bias, self.item_bias = torch.tensor(truth.user_bias), torch.tensor(truth.item_bias)

    def pairs(self, user: Tensor, item: Tensor) -> Tensor:
        """Scores of index pairs of equal shape."""
        return self.user_bias[user] + self.item_bias[item] + (self.user[user] * self.item[item]).sum(-1)


def planted_scorer(dataset: Dataset) -> PlantedScorer | None:
    """The scorer of the best possible figures, for `evaluate` in place of a model; None without planted scores."""
    return None if dataset.truth is None else PlantedScorer(dataset.truth)


@runtime_checkable
class CandidateScorer(Protocol):
    """All items, prepared to be scored for queries.

    Queries are `user[Q]` (int64), their context, if the data have any, and the inputs that the scorer declares
    (`fmlab.data.model_inputs`).
    """

    def score_all(self, user: Tensor, context: Features | None, more: ModelInputs = NO_INPUTS) -> Tensor:
        """Scores `[Q, items]` up to a strictly increasing function of each query.

        The next call overwrites the buffer. Raises FmlabError if a score is not finite.
        """
        ...

    def score_items(
        self, user: Tensor, context: Features | None, item: Tensor, more: ModelInputs = NO_INPUTS
    ) -> Tensor:
        """Scores of the items `item[Q, n]`, up to the same function; raises FmlabError if one is not finite."""
        ...


def candidate_scorer(scorer: Any, tables: Tables) -> CandidateScorer:
    """The scorer, prepared once for all items."""
    if isinstance(scorer, PlantedScorer):
        assert tables.items is not None
        device = tables.items.ids.device
        user, item = scorer.user.to(device), scorer.item.to(device)
        bias = scorer.user_bias.to(device)
        return _Product(lambda u, _, __: (bias[u], user[u]), scorer.item_bias.to(device), item)
    if isinstance(scorer, CandidateScorer):
        return scorer
    if isinstance(scorer, AddsScores):
        return _Sum(scorer, tables)
    if isinstance(scorer, ScoresCatalog) and scorer.scores_catalog:
        return _Catalog(scorer, tables)
    if is_two_sided(scorer):
        bias, vector = _in_chunks(scorer.encode_item, tables)
        encode = scorer.encode_query
        return _Product(lambda u, c, m: encode(*query(tables, u, c), **m.named(encode)), bias, vector)
    if is_late_interaction(scorer):
        return _Combination(scorer, tables)
    return _Rows(scorer, tables)


def query(tables: Tables, user: Tensor, context: Features | None) -> Features:
    """User and context columns of the queries."""
    if tables.users is None:
        assert context is not None
        return context
    users = tables.users.take(user)
    return users if context is None else users.join(context)


class _Product:
    """Item vectors and, as one more column against a 1 of the query, item biases: scores are one product, without the
    pass that adding biases would take, in memory that blocks of one size share.

    `bias`: of the queries that were scored last, `[Q]`, which is the same for all items and left out of scores.
    """

    def __init__(self, side: Callable[..., tuple[Tensor, Tensor]], bias: Tensor, vector: Tensor) -> None:
        # Autocast may serve the model, but products rounded to 8 bits would tie items that differ.
        self.kind = torch.promote_types(vector.dtype, torch.float32)
        self.side, self.items = side, torch.cat([vector, bias.unsqueeze(1)], 1).to(self.kind)
        refuse_non_finite(self.items.square())  # so that no product of two vectors overflows
        self.scores, self.bias = self.items.new_empty(0), self.items.new_empty(0)

    def score_all(self, user: Tensor, context: Features | None, more: ModelInputs = NO_INPUTS) -> Tensor:
        query = self._query(user, context, more)
        shape = (len(query), len(self.items))
        cells = shape[0] * shape[1]
        if len(self.scores) < cells:
            self.scores = self.items.new_empty(cells)
        with torch.autocast(query.device.type, enabled=False):
            return torch.mm(query, self.items.T, out=self.scores[:cells].view(shape))

    def score_items(
        self, user: Tensor, context: Features | None, item: Tensor, more: ModelInputs = NO_INPUTS
    ) -> Tensor:
        if len(self.items) <= VECTORS_PER_COPY * item.shape[1]:
            return self.score_all(user, context, more).gather(1, item)
        query, wide = self._query(user, context, more).unsqueeze(-1), self.items.index_select(0, item.reshape(-1))
        with torch.autocast(query.device.type, enabled=False):
            return torch.bmm(wide.view(*item.shape, -1), query).squeeze(-1)

    def _query(self, user: Tensor, context: Features | None, more: ModelInputs) -> Tensor:
        bias, vector = self.side(user, context, more)
        self.bias = bias
        refuse_non_finite(bias, vector.square())
        return torch.cat([vector, torch.ones_like(vector[:, :1])], 1).to(self.kind)


class _Sum:
    """The weighted sum of the scores of several models, each by its own path, without their links."""

    def __init__(self, scorer: AddsScores, tables: Tables) -> None:
        self.parts = [(weight, candidate_scorer(model, tables)) for weight, model in scorer.summands()]

    def score_all(self, user: Tensor, context: Features | None, more: ModelInputs = NO_INPUTS) -> Tensor:
        return self._added([weight * part.score_all(user, context, more) for weight, part in self.parts])

    def score_items(
        self, user: Tensor, context: Features | None, item: Tensor, more: ModelInputs = NO_INPUTS
    ) -> Tensor:
        return self._added([weight * part.score_items(user, context, item, more) for weight, part in self.parts])

    def _added(self, found: list[Tensor]) -> Tensor:
        return sum(found[1:], found[0])


class _Catalog:
    """Scores as the model itself gives them for all items."""

    def __init__(self, model: ScoresCatalog, tables: Tables) -> None:
        self.model, self.tables = model, tables

    def score_all(self, user: Tensor, context: Features | None, more: ModelInputs = NO_INPUTS) -> Tensor:
        scores = self.model.catalog_scores(*query(self.tables, user, context))
        refuse_non_finite(scores)
        return scores

    def score_items(
        self, user: Tensor, context: Features | None, item: Tensor, more: ModelInputs = NO_INPUTS
    ) -> Tensor:
        return self.score_all(user, context).gather(1, item)


class _Combination:
    def __init__(self, model: Any, tables: Tables) -> None:
        assert tables.items is not None
        self.model, self.tables, self.items = model, tables, tables.items
        states = self._encoded(slice(0, 1))
        self.width = max(s[0].numel() for s in states)
        total = sum(s.numel() for s in states) * len(self.items.ids)
        self.states = _in_chunks(model.item_state, tables) if total <= KEPT else None

    def score_all(self, user: Tensor, context: Features | None, more: ModelInputs = NO_INPUTS) -> Tensor:
        states, n = self._queries(user, context, more), len(self.items.ids)
        scores = torch.empty(len(user), n, device=user.device)
        for rows, columns in _tiles(len(user), n, self.width, user.device):
            left = tuple(s[rows].unsqueeze(1) for s in states)
            right = tuple(s.unsqueeze(0) for s in self._items(columns))
            scores[rows, columns] = self.model.interact(left, right)
        refuse_non_finite(scores)
        return scores

    def score_items(
        self, user: Tensor, context: Features | None, item: Tensor, more: ModelInputs = NO_INPUTS
    ) -> Tensor:
        states = self._queries(user, context, more)
        scores = torch.empty(item.shape, device=user.device)
        for rows, columns in _tiles(len(user), item.shape[1], self.width, user.device):
            left = tuple(s[rows].unsqueeze(1) for s in states)
            scores[rows, columns] = self.model.interact(left, self._items(item[rows, columns]))
        refuse_non_finite(scores)
        return scores

    def _items(self, at: slice | Tensor) -> tuple[Tensor, ...]:
        if self.states is not None:
            return tuple(s[at] for s in self.states)
        return self._encoded(at)

    def _encoded(self, at: slice | Tensor) -> tuple[Tensor, ...]:
        features = _cut(self.items, at) if isinstance(at, slice) else self.items.take(at)
        encode = self.model.item_state
        return encode(*features, **self.tables.item(encode, at).named(encode))

    def _queries(self, user: Tensor, context: Features | None, more: ModelInputs) -> tuple[Tensor, ...]:
        encode = self.model.query_state
        return encode(*query(self.tables, user, context), **more.named(encode))


class _Rows:
    def __init__(self, model: Any, tables: Tables) -> None:
        assert tables.items is not None
        self.model, self.tables, self.items = model, tables, tables.items
        # A row with a history holds a vector per item, so fewer rows are scored at once.
        self.width = WIDTH * history_length(model) if "history" in inputs_of_model(model) else 1

    def score_all(self, user: Tensor, context: Features | None, more: ModelInputs = NO_INPUTS) -> Tensor:
        queries, n = query(self.tables, user, context), len(self.items.ids)
        scores = torch.empty(len(user), n, device=user.device)
        for rows, columns in _tiles(len(user), n, self.width, user.device):
            given = (
                more.cut(rows)
                .with_item_axis()
                .join(self.tables.item(self.model, columns).map(lambda t: t.unsqueeze(0)))
            )
            whole = rows_of(_cut(queries, rows), _cut(self.items, columns))
            scores[rows, columns] = self.model(*whole, **given.named(self.model))
        refuse_non_finite(scores)
        return scores

    def score_items(
        self, user: Tensor, context: Features | None, item: Tensor, more: ModelInputs = NO_INPUTS
    ) -> Tensor:
        queries = query(self.tables, user, context)
        scores = torch.empty(item.shape, device=user.device)
        for rows, columns in _tiles(len(user), item.shape[1], self.width, user.device):
            at = item[rows, columns]
            given = more.cut(rows).with_item_axis().join(self.tables.item(self.model, at))
            whole = rows_of(_cut(queries, rows), self.items.take(at))
            scores[rows, columns] = self.model(*whole, **given.named(self.model))
        refuse_non_finite(scores)
        return scores


def _tiles(rows: int, columns: int, width: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Tiles that cover a grid, each of a bounded size."""
    budget = max(1, min(ROWS.get(device.type, ROWS["cpu"]), NUMBERS.get(device.type, NUMBERS["cpu"]) // max(1, width)))
    wide = min(columns, budget)
    tall = max(1, budget // wide)
    for top in range(0, rows, tall):
        for left in range(0, columns, wide):
            yield slice(top, min(top + tall, rows)), slice(left, min(left + wide, columns))


def _in_chunks(side: Callable[..., tuple[Tensor, ...]], tables: Tables) -> tuple[Tensor, ...]:
    """The state of all items, computed in chunks of bounded size."""
    assert tables.items is not None
    n, size = len(tables.items.ids), ROWS.get(tables.items.ids.device.type, ROWS["cpu"])
    cuts = [slice(low, min(low + size, n)) for low in range(0, n, size)]
    parts = [side(*_cut(tables.items, at), **tables.item(side, at).named(side)) for at in cuts]
    return tuple(torch.cat(states) for states in zip(*parts, strict=True))


def _cut(features: Features, at: slice) -> Features:
    return Features(features.ids[at], None if features.values is None else features.values[at])


def refuse_non_finite(*tensors: Tensor) -> None:
    """Raise FmlabError if a number is NaN or infinite."""
    for tensor in tensors:
        # The sum of finite numbers may overflow, but the sum of others is never finite: the cheap check comes first.
        if not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
            raise FmlabError(
                "the model gave non-finite scores: training diverged; try a smaller optimizer.lr, or clip gradients"
            )
