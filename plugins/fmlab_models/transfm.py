"""The translation-based factorization machine."""

from typing import Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.init import weights_and_vectors
from fmlab.nn.sparse_lookup import gather
from fmlab_models._options import Dim, PositiveInitStd


class TransFM(nn.Module):
    """`w0 + sum w_i x_i + sum_{i<j} |v_i + t_i - v_j|^2 x_i x_j`, where i is before j in the order of the columns.

    Paper: Pasricha, McAuley, Translation-based factorization machines for sequential recommendation, RecSys 2018,
      as GML-FM (Guo et al., IEEE TKDE 2022, section 2.2) applies it to rows of any kind.

    With `a = v + t` a pair is the inner product of `(|a_i|^2, 1, -2 a_i) x_i` and `(1, |v_j|^2, v_j) x_j`, of width
    `dim + 2`. So the pairs of a row are inner products with exclusive prefix sums over its columns, linear in their
    number, and pairs across the sides are one inner product, since the query's columns come first. The authors' code
    averages both orders of a pair, which leaves no order; here it counts, as in the equation.

    Cost: O(C^2 dim)
    Test: tests/models/test_transfm.py::test_scores_and_gradients_are_those_of_the_double_sum
    Family: linear and pairwise
    """

    defaults = {"loss": "bce", "optimizer": "adam"}

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return 1 + schema.n_features * (1 + 2 * dim)

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        init_std: PositiveInitStd = 0.01,
    ) -> None:
        """Weights start at 0, vectors and translations at N(0, init_std)."""
        super().__init__()
        self.dim = dim
        self.bias = nn.Parameter(torch.zeros(()))
        self.table = EmbeddingTable(weights_and_vectors(schema.n_features, 2 * dim, init_std))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        return self.bias + self._read(ids, values)[0]

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`w0` with the weights and pairs within the query, and the sum of its features as the first of pairs."""
        within, first, _ = self._read(ids, values)
        return self.bias + within, first.sum(0)

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Weights and pairs within the item, and the sum of its features as the second of pairs."""
        within, _, second = self._read(ids, values)
        return within, second.sum(0)

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z

    def _read(self, ids: Tensor, values: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Weights and pairs `[*batch]`; features as first and as second of pairs, `[columns, *batch, dim + 2]`."""
        rows, at = self.table.rows(ids.movedim(-1, 0))  # with columns first, prefix sums are one matrix product
        weight, v, t = torch.split(rows, [1, self.dim, self.dim], -1)
        a, one = v + t, torch.ones_like(weight)
        first = gather(torch.cat([a.square().sum(-1, keepdim=True), one, -2 * a], -1), at)
        second = gather(torch.cat([one, v.square().sum(-1, keepdim=True), v], -1), at)
        linear = gather(weight, at)
        if values is not None:
            x = values.movedim(-1, 0).unsqueeze(-1)
            first, second, linear = first * x, second * x, linear * x
        earlier = torch.ones(len(first), len(first), dtype=first.dtype, device=first.device).tril(-1)
        before = (earlier @ first.flatten(1)).view_as(first)
        return linear.sum(0).squeeze(-1) + (before * second).sum(-1).sum(0), first, second
