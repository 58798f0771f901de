"""How a batch is scored: by the cheapest exact path that the model offers.

Scores go through `score` everywhere, in training and in evaluation; the contract tests assert that the three
paths agree for every model that offers more than one.
"""

from typing import Any

import torch
from torch import Tensor

from fmlab.batch import Batch, Features
from fmlab.protocols import Separable, TwoSided


def score(model: Any, batch: Batch) -> Tensor:
    """Scores of the shape of `batch.label`.

    A side's work is done once for each distinct item of the batch, however often it was sampled; gradients add
    up to the same sums.
    """
    if batch.item is None or batch.tables.items is None:
        ids, values = batch.query()
        return model(ids, values)
    if isinstance(model, Separable):
        user, item = model.encode_user(*batch.query()), _distinct(model.encode_item, batch)
        if batch.has_candidates:
            user = tuple(u.unsqueeze(1) for u in user)
        return model.combine(user, item)
    if isinstance(model, TwoSided):
        (user_bias, p), (item_bias, q) = model.user(*batch.query()), _distinct(model.item, batch)
        if not batch.has_candidates:
            return model.link(user_bias + item_bias + (p * q).sum(-1))
        return model.link(user_bias.unsqueeze(1) + item_bias + torch.bmm(q, p.unsqueeze(-1)).squeeze(-1))
    return model(*batch.rows())


def _distinct(side: Any, batch: Batch) -> tuple[Tensor, ...]:
    assert batch.item is not None
    assert batch.tables.items is not None
    items = batch.tables.items
    if batch.item.numel() * 2 < len(items.ids):  # few repeats are likely: skip the search for them
        return side(*items.take(batch.item))
    distinct, inverse = torch.unique(batch.item, return_inverse=True)
    return tuple(_spread(t, inverse) for t in side(*items.take(distinct)))


def _spread(state: Tensor, inverse: Tensor) -> Tensor:
    return state.index_select(0, inverse.reshape(-1)).view(*inverse.shape, *state.shape[1:])


def rows_of(query: Features, item: Features) -> Features:
    """Whole rows of every query with every item: `[B, n, columns]` from `[B, q]` and `[B, n, i]` or `[n, i]`."""
    wide = Features(query.ids.unsqueeze(-2), None if query.values is None else query.values.unsqueeze(-2))
    return wide.join(item)
