"""What a sampler of negatives is."""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from fmlab.data.batch import Batch
from fmlab.data.weighted_sampling import SamplingBatch


@runtime_checkable
class Sampler(Protocol):
    """Draws the negatives of the positives of a batch; how many is the protocol's `negatives`.

    Built with `observed`, the `UserItemSet` of the training positives, on the CPU. A sampler that looks at the other
    rows of a batch says so with `uses_pool = True`.
    """

    def draw(self, batch: SamplingBatch, n: int, seed: int, epoch: int) -> tuple[Tensor, Tensor | None]:
        """`items[B, n]` (int64) and the logarithm of the chance `[B, 1 + n]` to be drawn of each positive and negative.

        The second is None where losses should not correct for it. A pure function of (seed, epoch, row), and of the
        pool if the sampler uses it, on the device of the batch.
        """
        ...


@runtime_checkable
class ChoosesByScore(Protocol):
    """A sampler that draws `drawn` times as many items as are asked for, and keeps those that the model scores so."""

    drawn: int

    def choose(self, model: Any, batch: Batch, n: int) -> Batch:
        """The batch with `n` of its negatives; called before each step, on the device of the model."""
        ...
