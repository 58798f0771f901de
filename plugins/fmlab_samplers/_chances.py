"""The probability of each item to be drawn (log q), for the correction of scores by its logarithm."""

import torch
from torch import Tensor

from fmlab.data.negative_sampling import UserItemSet
from fmlab.data.weighted_sampling import SamplingBatch


def popularity_weights(observed: UserItemSet, exponent: float) -> Tensor:
    """Float64 `[n_items]`: the number of users of each item, at least 1, to the power of `exponent`."""
    return observed.popularity().clamp(min=1).double() ** exponent


class LogChances:
    """Logarithms of the chances `chance[n_items]`, which need not add up to 1; none without `correction`."""

    def __init__(
        self,
        chance: Tensor,
        *,
        correction: bool,
    ) -> None:
        self.table = (chance / chance.sum()).log() if correction else None

    def of(self, batch: SamplingBatch, items: Tensor) -> Tensor | None:
        """`[B, 1 + n]` of each positive and its negatives `items[B, n]`."""
        if self.table is None:
            return None
        self.table = self.table.to(items.device)
        return self.table[torch.cat([batch.item.unsqueeze(1), items], 1)]
