"""Negatives by the frequency of items, with the logarithm of their chances."""

from typing import Annotated

import torch
from torch import Tensor

from fmlab.api import Range, SamplingBatch, UserItemSet, draw_weighted


class Frequency:
    """Items with a chance of their number of users, and one more, to the power of `exponent`.

    Source: Mikolov et al., Distributed representations of words and phrases and their compositionality, NIPS 2013.
    """

    def __init__(
        self, observed: UserItemSet, *, exponent: Annotated[float, Range(0, None)] = 0.75, log_q_correction: bool = True
    ) -> None:
        """`log_q_correction`: whether losses subtract the logarithm of an item's chance from its score."""
        weight = (1.0 + observed.popularity()).double() ** exponent
        self.cumulative, self.log_q = weight.cumsum(0), (weight / weight.sum()).log()
        self.correction = log_q_correction

    def draw(self, batch: SamplingBatch, n: int, seed: int, epoch: int) -> tuple[Tensor, Tensor | None]:
        """`items[B, n]` that the users have not met, and the logarithms of the chances `[B, 1 + n]`."""
        items = draw_weighted(batch.observed, self.cumulative, batch.user, batch.row, n, seed=seed, epoch=epoch)
        if not self.correction:
            return items, None
        return items, self.log_q.to(items.device)[torch.cat([batch.item.unsqueeze(1), items], 1)]
