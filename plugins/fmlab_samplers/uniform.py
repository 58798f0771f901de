"""Uniform negatives. The draws, and the rejection of observed items, are in `fmlab.data.negative_sampling`."""

from torch import Tensor

from fmlab.data.negative_sampling import UserItemSet, draw_negatives
from fmlab.data.weighted_sampling import SamplingBatch


class Uniform:
    """Every item that the user has no training interaction with is as likely as any other.

    Source: Rendle et al., BPR: Bayesian personalized ranking from implicit feedback, UAI 2009
    """

    def __init__(self, observed: UserItemSet) -> None:
        """`observed`: the training positives."""

    def draw(self, batch: SamplingBatch, n: int, seed: int, epoch: int) -> tuple[Tensor, None]:
        """`items[B, n]`; `log_q` is None, as the correction would be the same for all items."""
        return draw_negatives(batch.observed, batch.user, batch.row, n, seed=seed, epoch=epoch), None
