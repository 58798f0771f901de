"""The attentional factorization machine."""

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.init import weights_and_vectors
from fmlab.nn.pair_products import triangle
from fmlab.nn.sparse_lookup import gather, pool
from fmlab.plugin.option import Range
from fmlab_models._interactions import distinct_products
from fmlab_models._options import Dim, Dropout, InitStd
from fmlab_models.fm import StartsFromFM


class AFM(StartsFromFM):
    """`w0 + sum w_i x_i + <p, sum_{i<j} a_ij x_i v_i * x_j v_j>`: an attention network weighs the pairs.

    Paper: Xiao, Ye, He, Zhang, Wu, Chua, Attentional factorization machines: learning the weight of feature
      interactions via attention networks, IJCAI 2017, equations 4 to 7.

    `a_ij` is the softmax over the pairs of a row of `<h, ReLU(W (x_i v_i * x_j v_j) + b)>`. Dropout falls on the
    pooled products, as in the authors' code. A row with one column has no pairs. The attention network runs once for
    each distinct pair of features of a batch.

    Cost: O(C^2 dim attention_dim)
    Test: tests/models/test_deep_oracles.py::test_scores_and_gradients_are_those_of_the_equations
    Family: interaction-aware
    """

    space = {"attention_dim": {"int": [4, 64], "log": True}}

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, attention_dim: int, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return 1 + schema.n_features * (1 + dim) + attention_dim * (dim + 2) + dim

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        attention_dim: Annotated[int, Range(1, None), "units of the attention"] = 10,
        dropout: Dropout = 0.5,
        init_std: InitStd = 0.01,
    ) -> None:
        """Weights start at 0, vectors at N(0, init_std), p at 1, as in FM; attention as torch initializes layers."""
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))
        self.table = EmbeddingTable(weights_and_vectors(schema.n_features, dim, init_std))
        self.attention = nn.Linear(dim, attention_dim)
        self.h = nn.Parameter(torch.randn(attention_dim) / attention_dim**0.5)
        self.p = nn.Parameter(torch.ones(dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        rows, at = self.table.rows(ids)
        linear = pool(rows[:, :1], at, values).squeeze(-1)
        if ids.shape[-1] < 2:
            return self.bias + linear
        left, right = triangle(ids.shape[-1], ids.device)
        products, pairs = distinct_products(rows[:, 1:], at, left, right)
        hidden = products @ self.attention.weight.T
        if values is None:
            x = None
            strength = gather(self._strength(hidden), pairs).squeeze(-1)
        else:
            x = (values.index_select(-1, left) * values.index_select(-1, right)).to(rows.dtype)
            strength = self._strength(gather(hidden, pairs) * x.unsqueeze(-1)).squeeze(-1)
        share = strength.softmax(-1).to(rows.dtype)
        share = share if x is None else share * x
        if self.training:
            return self.bias + linear + self.dropout(pool(products, pairs, share)) @ self.p
        return self.bias + linear + pool((products @ self.p).unsqueeze(-1), pairs, share).squeeze(-1)

    def _strength(self, hidden: Tensor) -> Tensor:
        return ((hidden + self.attention.bias).relu() @ self.h).unsqueeze(-1)
