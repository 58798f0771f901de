"""The neural factorization machine."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.fm_sums import factor_products
from fmlab.nn.init import weights_and_vectors
from fmlab.nn.sizes import perceptron_size
from fmlab_models._deep import perceptron
from fmlab_models._options import BatchNorm, Dim, Dropout, Hidden, InitStd
from fmlab_models.fm import StartsFromFM


class NFM(StartsFromFM):
    """`w0 + sum w_i x_i + MLP(sum_{i<j} x_i v_i * x_j v_j)`: the products of pairs, summed, enter a perceptron.

    Paper: He, Chua, Neural factorization machines for sparse predictive analytics, SIGIR 2017, equations 3 to 7.

    The sum over pairs is `((sum x v)^2 - sum (x v)^2) / 2` for each coordinate (equation 4); of two sides it is that
    of each and the product of their sums. Dropout stands before every layer, the first included (section 3.3).
    Defaults are those of LorentzFM's comparison (AAAI 2020, table 3): `dim` 10, two layers of 100.

    Cost: O(C dim + W)
    Test: tests/models/test_deep_oracles.py::test_scores_and_gradients_are_those_of_the_equations
    Family: deep
    """

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, hidden: Sequence[int], batch_norm: bool, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return 1 + schema.n_features * (1 + dim) + perceptron_size(dim, hidden, batch_norm)

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        hidden: Hidden = (100, 100),
        dropout: Dropout = 0.5,
        batch_norm: BatchNorm = False,
        init_std: InitStd = 0.01,
    ) -> None:
        """Weights start at 0, vectors at N(0, init_std), layers as torch initializes them."""
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))
        self.table = EmbeddingTable(weights_and_vectors(schema.n_features, dim, init_std))
        self.deep = nn.Sequential(nn.Dropout(dropout), *perceptron(dim, hidden, dropout, batch_norm))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        linear, pairs, _ = self.query_state(ids, values)
        return linear + self.deep(pairs).squeeze(-1)

    def query_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """`w0` and the weights of the query, the products of its pairs, the sum of its vectors."""
        linear, pairs, vector = self.item_state(ids, values)
        return self.bias + linear, pairs, vector

    def item_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """The weights of the item, the products of its pairs, the sum of its vectors."""
        return factor_products(*self.table.rows(ids), values)

    def interact(self, user: tuple[Tensor, ...], item: tuple[Tensor, ...]) -> Tensor:
        """The products of all pairs, through the perceptron."""
        (a, left, p), (b, right, q) = user, item
        return a + b + self.deep(left + right + p * q).squeeze(-1)
