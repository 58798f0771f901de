"""Negatives that are uniform over what a user has not met."""

from torch import Tensor

from fmlab.data.negatives import UserItemSet, draw_negatives
from fmlab.data.sampling import SamplingBatch


class Uniform:
    """Every item that the user has no training interaction with is as likely as any other.

    Source: Rendle et al., BPR: Bayesian personalized ranking from implicit feedback, UAI 2009
    """

    def __init__(self, observed: UserItemSet) -> None:
        """`observed`: the training positives."""

    def draw(self, batch: SamplingBatch, n: int, seed: int, epoch: int) -> tuple[Tensor, None]:
        """`items[B, n]`; there is nothing to correct."""
        return draw_negatives(batch.observed, batch.user, batch.row, n, seed=seed, epoch=epoch), None
