"""Gates on pairs of fields."""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from fmlab.contracts import SearchSpace
from fmlab.plugin.option import Range
from fmlab_searches._gates import Epochs
from fmlab_searches._grda import GRDA


class AutoFIS(nn.Module):
    """The product of a pair of fields is normalized over the batch and weighed by a gate, which GRDA makes sparse.

    Pairs whose gate is not 0 stay, and the model is trained anew with these: fm, deepfm, fwfm, fvfm, fmfm, and others
    whose scores add up pairs of fields (`fmlab.api.GatesPairs`).

    Paper: Liu, Zhu, Li, Zhang, Lai, Tang, He, Li, Yu, AutoFIS: automatic feature interaction selection in factorization
      models for click-through rate prediction, KDD 2020; details of the authors' code (zhuchenxv/AutoFIS).

    The authors train gates of the pairs that stay on, as their weights; here these pairs count whole, as they do in the
    model: fwfm has such weights itself.
    """

    held_out = 0.0

    def __init__(
        self,
        space: SearchSpace,
        *,
        start: Annotated[float, Range(0, None, open_low=True), "gates at the start"] = 0.6,
        c: Annotated[float, Range(0, None), "size of GRDA's threshold: more drops more pairs"] = 0.01,
        mu: Annotated[float, Range(0.5, 1, open_low=True, open_high=True), "growth of GRDA's threshold"] = 0.8,
        lr: Annotated[float, Range(0, None, open_low=True), "learning rate of the gates, which GRDA moves"] = 1.0,
        epochs: Epochs = 5,
    ) -> None:
        """`space`: the pairs."""
        super().__init__()
        self.epochs, self.options = epochs, {"lr": lr, "c": c, "mu": mu}
        noise = torch.rand(space.pairs, generator=torch.Generator().manual_seed(space.seed))
        self.gates = nn.Parameter(start + 0.002 * noise - 0.001)

    def rows(self, table: int, rows: Tensor, at: Tensor) -> Tensor:
        """As they are."""
        return rows

    def pairs(self, products: Tensor) -> Tensor:
        """Products normalized over the batch, times their gates."""
        flat = products.reshape(-1, products.shape[-1])
        deviation = (flat.var(0, unbiased=False) + 1e-3).sqrt()
        return (products - flat.mean(0)) / deviation * self.gates

    def optimizer(self) -> GRDA:
        """GRDA over the gates."""
        return GRDA(self.parameters(), **self.options)

    def kept(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """All numbers of the tables."""
        return [torch.ones(len(weight), 1, dtype=torch.bool) for weight in weights]

    def kept_pairs(self) -> Tensor:
        """Pairs whose gate is not 0."""
        return self.gates.detach() != 0
