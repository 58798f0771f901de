"""The vectors of queries or items of a two-sided model, with their biases as one more column."""

from typing import Any

import torch
from torch import Tensor

from fmlab.data.batch import Features
from fmlab.evaluation.item_scorer import refuse_non_finite

CHUNK = 1 << 14


@torch.no_grad()
def vectors_of(side: Any, rows: Features, *, bias: bool = True) -> Tensor:
    """`encode_query` or `encode_item` of rows, float64`[rows, d + 1]`: the last column is the bias, or 1."""
    parts = []
    for low in range(0, len(rows.ids), CHUNK):
        values = None if rows.values is None else rows.values[low : low + CHUNK]
        own, vector = side(rows.ids[low : low + CHUNK], values)
        last = own if bias else torch.ones_like(own)
        parts.append(torch.cat([vector.double(), last.double().unsqueeze(1)], 1))
    found = torch.cat(parts)
    refuse_non_finite(found)
    return found
