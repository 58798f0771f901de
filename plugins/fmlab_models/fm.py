"""The factorization machine."""

from typing import Annotated

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.nn.features import FeatureTable
from fmlab.nn.initial import weights_and_vectors
from fmlab.nn.pairs import factor_pairs
from fmlab.options import Range


class FM(nn.Module):
    """`w0 + sum w_i x_i + sum_{i<j} <v_i, v_j> x_i x_j`, in time linear in the columns.

    Paper: Rendle, Factorization machines, ICDM 2010, equation 1 and lemma 3.1.

    Parameters: 1 + n (1 + dim)
    Operations: 3 dim (F + 1)
    Cost: O(C dim)
    Test: tests/models/test_model_oracles.py::test_fm_is_its_double_sum
    Family: linear and pairwise
    """

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Annotated[int, Range(1, None)] = 10,
        init_std: Annotated[float, Range(0, None)] = 0.01,
    ) -> None:
        """Weights start at 0, vectors at N(0, init_std)."""
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))
        self.table = FeatureTable(weights_and_vectors(schema.n_features, dim, init_std))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        return self.user(ids, values)[0]

    def user(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`w0` with the weights and pairs within the query, and the sum of its vectors."""
        bias, vector = self.item(ids, values)
        return self.bias + bias, vector

    def item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Weights and pairs within the item, and the sum of its vectors."""
        return factor_pairs(*self.table.rows(ids), values)

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z
