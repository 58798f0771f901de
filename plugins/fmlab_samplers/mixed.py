"""Negatives of two kinds."""

from typing import Annotated, Literal

import torch
from torch import Tensor

from fmlab.data.negative_sampling import UserItemSet, draw_negatives
from fmlab.data.weighted_sampling import SamplingBatch, draw_weighted
from fmlab.plugin.option import Range
from fmlab_samplers._chances import LogChances, popularity_weights
from fmlab_samplers._options import Correction, Exponent
from fmlab_samplers.in_batch import draw_from_pool


class Mixed:
    """A `share` of the negatives from the batch, or by popularity, and the others uniform over all items.

    Paper: Yang et al., Mixed negative sampling for learning two-tower neural networks in recommendations, WWW 2020

    `share` of the number of negatives is rounded. With `log_q_correction`, losses subtract the logarithm of an item's
    chance under the mixture. `exponent` is that of the popularity; those from the batch have exponent 1.
    """

    uses_pool = True

    def __init__(
        self,
        observed: UserItemSet,
        *,
        popular: Annotated[Literal["in_batch", "popularity"], "where the popular items come from"] = "in_batch",
        share: Annotated[float, Range(0, 1), "share of the negatives that are not uniform"] = 0.5,
        exponent: Exponent = 0.75,
        log_q_correction: Correction = True,
    ) -> None:
        """`observed`: the training positives."""
        self.popular, self.share, self.correction = popular, share, log_q_correction
        self.weight = popularity_weights(observed, exponent if popular == "popularity" else 1.0)
        self.cumulative = self.weight.cumsum(0)
        self.chances: dict[int, LogChances] = {}  # by the number of negatives

    def draw(self, batch: SamplingBatch, n: int, seed: int, epoch: int) -> tuple[Tensor, Tensor | None]:
        """`items[B, n]`, and the logarithms of the chances `[B, 1 + n]` of the positive and of them."""
        first = round(self.share * n)
        uniform = draw_negatives(batch.observed, batch.user, batch.row, n, seed=seed, epoch=epoch)[:, first:]
        items = torch.cat([self._popular(batch, first, seed, epoch), uniform], 1)
        if n not in self.chances:
            some = self.weight / self.weight.sum() * first + (n - first) / len(self.weight)
            self.chances[n] = LogChances(some, correction=self.correction)
        return items, self.chances[n].of(batch, items)

    def _popular(self, batch: SamplingBatch, n: int, seed: int, epoch: int) -> Tensor:
        if self.popular == "in_batch":
            return draw_from_pool(batch, n, seed, epoch)
        self.cumulative = self.cumulative.to(batch.row.device)
        return draw_weighted(batch.observed, self.cumulative, batch.user, batch.row, n, seed=seed, epoch=epoch)
