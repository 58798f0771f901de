"""Logistic regression."""

from typing import Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.sparse_lookup import pool
from fmlab_models._flops import flops


class LR(nn.Module):
    """`w0 + sum w_i x_i`, the log-odds of logistic regression.

    Paper: Richardson, Dominowska, Ragno, Predicting clicks: estimating the click-through rate for new ads, WWW 2007.

    Cost: O(C)
    Test: tests/models/test_model_oracles.py::test_lr_is_a_sum_of_weights
    Family: linear and pairwise
    """

    @staticmethod
    def n_parameters(schema: Schema, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return 1 + schema.n_features

    @staticmethod
    def n_operations(schema: Schema, **_: Any) -> int:
        """Of a row of single-valued fields, as FmFM counts them (table 4)."""
        return flops("lr", (1,) * len(schema.fields))

    def __init__(self, schema: Schema) -> None:
        """All weights start at 0."""
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))
        self.table = EmbeddingTable(torch.zeros(schema.n_features, 1))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        return self.encode_query(ids, values)[0]

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`w0` and the weights of the query, vector 0 of width 1."""
        bias, vector = self.encode_item(ids, values)
        return self.bias + bias, vector

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The weights of the item, vector 0 of width 1."""
        total = pool(*self.table.rows(ids), values)
        return total.squeeze(-1), torch.zeros_like(total)

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z
