"""Logistic regression on features and on hashed pairs of features."""

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.sparse_lookup import pool
from fmlab.plugin.option import Range, Renamed
from fmlab_models._flops import flops

_ODD = -7046029254386353131  # 2^64 / golden ratio as a signed number: Fibonacci hashing


class Poly2(nn.Module):
    """`w0 + sum w_i x_i + sum_{i<j} w_{h(i,j)} x_i x_j`, where h hashes pairs of features into `pair_buckets` weights.

    Paper: Chang, Hsieh, Chang, Ringgaard, Lin, Training and testing low-degree polynomial data mappings via linear
      SVM, JMLR 2010, with the hash of equation 3 of FmFM (Sun et al., WWW 2021).

    The hash does not depend on the order of the two. Pairs within a side are summed once for all rows it stands in.

    Cost: O(C^2)
    Test: tests/models/test_poly2.py::test_scores_and_gradients_are_those_of_the_double_sum
    Family: linear and pairwise
    """

    defaults = {"loss": "bce", "optimizer": "adam"}

    @staticmethod
    def n_parameters(schema: Schema, *, pair_buckets: int, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return 1 + schema.n_features + pair_buckets

    @staticmethod
    def n_operations(schema: Schema, **_: Any) -> int:
        """Of a row of single-valued fields, as FmFM counts them (table 4)."""
        return flops("poly2", (1,) * len(schema.fields))

    def __init__(
        self,
        schema: Schema,
        *,
        pair_buckets: Annotated[
            int, Range(1, None), "number of weights that pairs of features are hashed into", Renamed("buckets")
        ] = 1_000_000,
    ) -> None:
        """All weights start at 0."""
        super().__init__()
        self.n_features, self.pair_buckets = schema.n_features, pair_buckets
        self.bias = nn.Parameter(torch.zeros(()))
        self.table = EmbeddingTable(torch.zeros(schema.n_features, 1))
        self.pairs = EmbeddingTable(torch.zeros(pair_buckets, 1), of_features=False)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        return self.bias + self._within(ids, values)

    def query_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """`w0` with the weights of the query and of pairs within it; its ids and values."""
        bias, *rest = self.item_state(ids, values)
        return self.bias + bias, *rest

    def item_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """The weights of the item and of pairs within it; its ids and values."""
        return self._within(ids, values), ids, torch.ones_like(ids, dtype=self.bias.dtype) if values is None else values

    def interact(self, user: tuple[Tensor, ...], item: tuple[Tensor, ...]) -> Tensor:
        """Pairs across the sides."""
        (a, left, x), (b, right, y) = user, item
        hashed, values = self.bucket(left.unsqueeze(-1), right.unsqueeze(-2)), x.unsqueeze(-1) * y.unsqueeze(-2)
        return a + b + pool(*self.pairs.rows(hashed.flatten(-2)), values.flatten(-2)).squeeze(-1)

    def bucket(self, i: Tensor, j: Tensor) -> Tensor:
        """Where the weight of two features stands: ids that broadcast -> int64."""
        key = (torch.minimum(i, j).long() * self.n_features + torch.maximum(i, j)) * _ODD
        return ((key >> 29) ^ key).remainder(self.pair_buckets)

    def _within(self, ids: Tensor, values: Tensor | None) -> Tensor:
        weights = pool(*self.table.rows(ids), values).squeeze(-1)
        first, second = torch.triu_indices(ids.shape[-1], ids.shape[-1], 1, device=ids.device)
        if not len(first):
            return weights
        hashed = self.bucket(ids.index_select(-1, first), ids.index_select(-1, second))
        x = None if values is None else values.index_select(-1, first) * values.index_select(-1, second)
        return weights + pool(*self.pairs.rows(hashed), x).squeeze(-1)
