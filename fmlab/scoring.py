"""How a batch is scored: by the cheapest exact path that the model offers.

Scores go through `score` everywhere, in training and in evaluation; the contract tests assert that the three
paths agree for every model that offers more than one.
"""

from typing import Any

import torch
from torch import Tensor

from fmlab.batch import Batch, Features
from fmlab.nn.incidence import dot
from fmlab.protocols import Separable, Tempered, TwoSided

_REPEATS = 4  # so often every item stands in a batch of labelled rows before its sides are computed apart


def score(model: Any, batch: Batch) -> Tensor:
    """Scores of the shape of `batch.label`.

    A side's work is done once for each distinct item of the batch, however often it was sampled; gradients add
    up to the same sums. Labelled rows with nearly as many items as rows share nothing that would pay for the two sides.
    """
    if batch.item is None or batch.tables.items is None:
        ids, values = batch.query()
        return model(ids, values)
    if not batch.has_candidates and len(batch.tables.items.ids) * _REPEATS > batch.size:
        return model(*batch.rows())
    if isinstance(model, Separable):
        user, item = model.encode_user(*batch.query()), item_states(model.encode_item, batch)
        if batch.has_candidates:
            user = tuple(u.unsqueeze(1) for u in user)
        return model.combine(user, item)
    if isinstance(model, TwoSided):
        (user_bias, p), (item_bias, q), place = model.user(*batch.query()), *_distinct(model.item, batch)
        item_bias = _spread(item_bias, place)
        if not batch.has_candidates:
            return model.link(user_bias + item_bias + (p * _spread(q, place)).sum(-1))
        return model.link(user_bias.unsqueeze(1) + item_bias + dot(p, q, place))
    return model(*batch.rows())


def tempered_score(model: Any, batch: Batch) -> Tensor:
    """`score` as losses read it: that of sampled candidates is divided by the temperature of the model, if it has one.

    Labelled rows keep the score as it is, for metrics and predictions read it so.
    """
    scores = score(model, batch)
    if batch.has_candidates and isinstance(model, Tempered) and model.temperature != 1:
        return scores / model.temperature
    return scores


def item_states(side: Any, batch: Batch) -> tuple[Tensor, ...]:
    """What `side` gives for the items of a batch: a tuple of tensors whose leading shape is that of `batch.item`."""
    states, place = _distinct(side, batch)
    return tuple(_spread(t, place) for t in states)


def _distinct(side: Any, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor]:
    """What `side` gives for each distinct item, and where each item of the batch stands among these."""
    assert batch.item is not None
    assert batch.tables.items is not None
    items, n = batch.tables.items, len(batch.tables.items.ids)
    drawn = batch.item.reshape(-1)
    if len(drawn) * 2 < n:  # too few repeat for it to pay
        place = torch.arange(len(drawn), device=drawn.device)
        return side(*items.take(drawn)), place.view(batch.item.shape)
    # Marking is several times faster than sorting, and here the marks are no longer than twice the batch.
    marks = torch.zeros(n, dtype=torch.bool, device=drawn.device).index_fill_(0, drawn.long(), True)
    distinct = marks.nonzero().squeeze(1)
    place = torch.empty(n, dtype=torch.int64, device=drawn.device)
    place[distinct] = torch.arange(len(distinct), device=drawn.device)
    return side(*items.take(distinct)), place.index_select(0, drawn).view(batch.item.shape)


def _spread(state: Tensor, place: Tensor) -> Tensor:
    return state.index_select(0, place.reshape(-1)).view(*place.shape, *state.shape[1:])


def rows_of(query: Features, item: Features) -> Features:
    """Whole rows of every query with every item: `[B, n, columns]` from `[B, q]` and `[B, n, i]` or `[n, i]`."""
    wide = Features(query.ids.unsqueeze(-2), None if query.values is None else query.values.unsqueeze(-2))
    return wide.join(item)
