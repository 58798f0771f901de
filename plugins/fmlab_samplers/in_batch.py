"""Negatives from the other positives of a batch."""

import torch
from torch import Tensor

from fmlab.data.negative_sampling import UserItemSet, draw_negatives
from fmlab.data.weighted_sampling import SamplingBatch, random_numbers
from fmlab_samplers._chances import LogChances, popularity_weights
from fmlab_samplers._options import Correction

ATTEMPTS = 8


class InBatch:
    """Items of other rows of the global batch (of all processes) that the user was not observed with.

    Paper: Yi et al., Sampling-bias-corrected neural modeling for large corpus item recommendations, RecSys 2019

    An item stands in a batch as often as in the training rows: with `log_q_correction`, losses subtract the logarithm
    of its share of them (equation 5 there; shares are counted instead of estimated). Where 8 draws from the
    batch give only observed items of the user, the negative is uniform over the others. Negatives depend on the batch,
    hence on batch_size, but not on the number of processes.
    """

    uses_pool = True

    def __init__(
        self,
        observed: UserItemSet,
        *,
        log_q_correction: Correction = True,
    ) -> None:
        """`observed`: the training positives."""
        self.chances = LogChances(popularity_weights(observed, 1.0), correction=log_q_correction)

    def draw(self, batch: SamplingBatch, n: int, seed: int, epoch: int) -> tuple[Tensor, Tensor | None]:
        """`items[B, n]`, and the logarithms of the chances `[B, 1 + n]` of the positive and of them."""
        items = draw_from_pool(batch, n, seed, epoch)
        return items, self.chances.of(batch, items)


def draw_from_pool(batch: SamplingBatch, n: int, seed: int, epoch: int) -> Tensor:
    """`[B, n]` items of the global batch that the users were not observed with.

    Where `ATTEMPTS` draws give only observed items, the negative is uniform over the others.
    """
    user = batch.user.unsqueeze(1)
    items = draw_negatives(batch.observed, batch.user, batch.row, n, seed=seed, epoch=epoch)
    wanted = torch.ones_like(items, dtype=torch.bool)
    for attempt in range(ATTEMPTS):
        chance = random_numbers(batch.row, n, seed=seed, epoch=epoch, attempt=attempt)
        drawn = batch.pool[(chance * len(batch.pool)).long()]
        found = wanted & ~batch.observed.contains(user, drawn)
        items = torch.where(found, drawn, items)
        wanted &= ~found
    return items
