"""The attentional factorization machine."""

from typing import Annotated

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.nn.crossing import pair_products, rows_last
from fmlab.nn.features import FeatureTable
from fmlab.nn.incidence import gather, pool
from fmlab.nn.initial import weights_and_vectors
from fmlab.options import Range


class AFM(nn.Module):
    """`w0 + sum w_i x_i + <p, sum_{i<j} a_ij x_i v_i * x_j v_j>`: an attention network weighs the pairs.

    Paper: Xiao, Ye, He, Zhang, Wu, Chua, Attentional factorization machines: learning the weight of feature
      interactions via attention networks, IJCAI 2017, equations 4 to 7.

    `a_ij` is the softmax over the pairs of a row of `<h, ReLU(W (x_i v_i * x_j v_j) + b)>`. Dropout falls on the
    pooled products, as in the authors' code. A row with one column has no pairs.

    Parameters: 1 + n (1 + dim) + attention_dim (dim + 2) + dim
    Cost: O(C^2 dim attention_dim)
    Test: tests/models/test_deep_oracles.py::test_scores_and_gradients_are_those_of_the_equations
    Family: interaction-aware
    """

    space = {"attention_dim": {"int": [4, 64], "log": True}}

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Annotated[int, Range(1, None)] = 10,
        attention_dim: Annotated[int, Range(1, None)] = 10,
        dropout: Annotated[float, Range(0, 1, open_high=True)] = 0.5,
        init_std: Annotated[float, Range(0, None)] = 0.01,
    ) -> None:
        """Weights start at 0, vectors at N(0, init_std), p at 1, as in FM; attention as torch initialises layers."""
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))
        self.table = FeatureTable(weights_and_vectors(schema.n_features, dim, init_std))
        self.attention = nn.Linear(dim, attention_dim)
        self.h = nn.Parameter(torch.randn(attention_dim) / attention_dim**0.5)
        self.p = nn.Parameter(torch.ones(dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        return self._score(*self.encode_user(ids, values))

    def encode_user(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """`w0` and the weights of the query, its vectors."""
        linear, vectors = self.encode_item(ids, values)
        return self.bias + linear, vectors

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """The weights of the item, its vectors `[*batch, columns, dim]`."""
        rows, at = self.table.rows(ids)
        vectors = gather(rows[:, 1:], at)
        if values is not None:
            vectors = vectors * values.unsqueeze(-1)
        return pool(rows[:, :1], at, values).squeeze(-1), vectors

    def combine(self, user: tuple[Tensor, ...], item: tuple[Tensor, ...]) -> Tensor:
        """All pairs of both sides."""
        (a, p), (b, q) = user, item
        linear = a + b
        return self._score(linear, torch.cat([t.expand(*linear.shape, *t.shape[-2:]) for t in (p, q)], -2))

    def _score(self, linear: Tensor, vectors: Tensor) -> Tensor:
        products = pair_products(rows_last(vectors))  # [pairs, dim, n]
        hidden = (self.attention.weight @ products + self.attention.bias.unsqueeze(-1)).relu()
        share = (self.h @ hidden).softmax(0)
        pooled = self.dropout((share.unsqueeze(1) * products).sum(0))
        return linear + (self.p @ pooled).view(linear.shape)
