"""The translation-based factorization machine."""

from typing import Annotated

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.nn.features import FeatureTable
from fmlab.nn.initial import weights_and_vectors
from fmlab.options import Range


class TransFM(nn.Module):
    """`w0 + sum w_i x_i + sum_{i<j} |v_i + t_i - v_j|^2 x_i x_j`, i before j in the order of the columns.

    Paper: Pasricha, McAuley, Translation-based factorization machines for sequential recommendation, RecSys 2018,
      as GML-FM (Guo et al., IEEE TKDE 2022, section 2.2) takes it.

    With `a = v + t`, a pair is `<(|a_i|^2, 1, -2 a_i), (1, |v_j|^2, v_j)>`: the scores are inner products of width
    `dim + 2` with exclusive prefix sums over the columns, in time linear in the columns, and the query's sum meets the
    item's, since query columns come first. The authors' code averages both orders of a pair.
    """

    defaults = {"loss": "bpr", "optimizer": "adam"}

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Annotated[int, Range(1, None)] = 10,
        init_std: Annotated[float, Range(0, None, open_low=True)] = 0.01,
    ) -> None:
        """Weights start at 0, vectors and translations at N(0, init_std)."""
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))
        self.table = FeatureTable(weights_and_vectors(schema.n_features, 2 * dim, init_std))
        self.dim = dim

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        return self.user(ids, values)[0]

    def user(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`w0` with the weights and pairs within the query, and the sum of its first halves of pairs."""
        inner, first, _ = self._read(ids, values)
        return self.bias + inner, first.sum(-2)

    def item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Weights and pairs within the item, and the sum of its second halves of pairs."""
        inner, _, second = self._read(ids, values)
        return inner, second.sum(-2)
