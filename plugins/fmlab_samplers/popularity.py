"""Negatives by the popularity of items. The draws are in `fmlab.data.weighted_sampling`."""

from torch import Tensor

from fmlab.data.negative_sampling import UserItemSet
from fmlab.data.weighted_sampling import SamplingBatch, draw_weighted
from fmlab_samplers._chances import LogChances, popularity_weights
from fmlab_samplers._options import Correction, Exponent


class Popularity:
    """Items the user was not observed with, by the number of their training users to the power of `exponent`.

    Paper: Mikolov, Sutskever, Chen, Corrado, Dean, Distributed representations of words and phrases and their
    compositionality, NIPS 2013, section 2.2 (exponent 3/4).

    An item without training users counts as one with a single user, so that every item can be drawn. With
    `log_q_correction`, losses subtract the logarithm of an item's chance from its score, the positive's too: a sampled
    softmax then has the optimum of the softmax over all items (Bengio, Senecal, Adaptive importance sampling to
    accelerate training of a neural probabilistic language model, IEEE Transactions on Neural Networks 2008). Without
    it, popular items are underestimated.
    """

    def __init__(
        self,
        observed: UserItemSet,
        *,
        exponent: Exponent = 0.75,
        log_q_correction: Correction = True,
    ) -> None:
        """`observed`: the training positives."""
        weight = popularity_weights(observed, exponent)
        self.cumulative = weight.cumsum(0)
        self.chances = LogChances(weight, correction=log_q_correction)

    def draw(self, batch: SamplingBatch, n: int, seed: int, epoch: int) -> tuple[Tensor, Tensor | None]:
        """`items[B, n]`, and the logarithms of the chances `[B, 1 + n]` of the positive and of them."""
        self.cumulative = self.cumulative.to(batch.row.device)
        items = draw_weighted(batch.observed, self.cumulative, batch.user, batch.row, n, seed=seed, epoch=epoch)
        return items, self.chances.of(batch, items)
