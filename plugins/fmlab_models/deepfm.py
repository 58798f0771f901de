"""A factorization machine beside a multilayer perceptron."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmlab.contracts.model import Scorer
from fmlab.data import Schema
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.fm_sums import factor_pairs
from fmlab.nn.init import weights_and_vectors
from fmlab.nn.mlp import split_mlp
from fmlab.nn.pair_gates import PairGates, gated_pairs
from fmlab.nn.sizes import perceptron_size
from fmlab.nn.sparse_lookup import gather, pool
from fmlab_models._options import BatchNorm, Dim, Dropout, Hidden, InitStd
from fmlab_models.fm import StartsFromFM


class DeepFM(StartsFromFM):
    """`FM(x) + MLP([v_1 x_1; ...; v_F x_F])` on shared vectors.

    Paper: Guo, Tang, Ye, Li, He, DeepFM: a factorization-machine based neural network for CTR prediction, IJCAI 2017,
      equations 1 to 4.

    Defaults are those of LorentzFM's comparison (AAAI 2020, tables 2 and 3): `dim` 10, two layers of 400, which its
    parameter counts confirm, and dropout 0.5, the end of its grid and Guo's own choice (Guo has three layers of 400).

    The first layer splits by side, `W [x_u; x_i] = W_u x_u + W_i x_i`: a query's part is computed once for all items.

    Cost: O(C dim + W)
    Test: tests/models/test_model_oracles.py::test_deepfm_adds_a_perceptron_on_scaled_vectors
    Family: deep
    """

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, hidden: Sequence[int], batch_norm: bool, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return 1 + schema.n_features * (1 + dim) + perceptron_size(schema.n_columns * dim, hidden, batch_norm)

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        hidden: Hidden = (400, 400),
        dropout: Dropout = 0.5,
        batch_norm: BatchNorm = False,
        init_std: InitStd = 0.01,
    ) -> None:
        """Weights start at 0, vectors at N(0, init_std), layers as torch initializes them."""
        super().__init__()
        self.column_field = tuple(schema.column_field)
        self.pair_gates: PairGates | None = None  # of a search of pairs
        self.bias = nn.Parameter(torch.zeros(()))
        self.table = EmbeddingTable(weights_and_vectors(schema.n_features, dim, init_std))
        self.first, self.rest = split_mlp(schema.n_columns * dim, hidden, dropout, batch_norm)
        self.query_inputs = schema.query.stop * dim

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        pairs, _, inputs = self._read(ids, values)
        return self.bias + pairs + self.rest(self.first(inputs)).squeeze(-1)

    def scorers(self) -> Sequence[Scorer]:
        """By a state of each side, unless pairs of fields have gates."""
        return ("late-interaction",) if self.pair_gates is None else ()

    def gate_pairs(self, gates: PairGates) -> None:
        """Weigh the pairs of fields from now on."""
        self.pair_gates = gates

    def pair_parameters(self) -> Tensor:
        """None: pairs share the vectors."""
        fields = max(self.column_field) + 1
        return torch.zeros(fields * (fields - 1) // 2, dtype=torch.int64)

    def query_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """FM's part within the query, the sum of its vectors, its part of the first layer."""
        pairs, vector, inputs = self._read(ids, values)
        return (
            self.bias + pairs,
            vector,
            functional.linear(inputs, self.first.weight[:, : self.query_inputs], self.first.bias),
        )

    def item_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """FM's part within the item, the sum of its vectors, its part of the first layer."""
        pairs, vector, inputs = self._read(ids, values)
        return pairs, vector, functional.linear(inputs, self.first.weight[:, self.query_inputs :])

    def interact(self, user: tuple[Tensor, ...], item: tuple[Tensor, ...]) -> Tensor:
        """Pairs across the sides, and the layers above the first."""
        (a, p, g), (b, q, h) = user, item
        return a + b + (p * q).sum(-1) + self.rest(g + h).squeeze(-1)

    def _read(self, ids: Tensor, values: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        rows, at = self.table.rows(ids)
        vectors = gather(rows[:, 1:], at)
        if values is not None:
            vectors = vectors * values.unsqueeze(-1)
        if self.pair_gates is not None:
            pairs = pool(rows[:, :1], at, values).squeeze(-1) + gated_pairs(vectors, self.column_field, self.pair_gates)
            return pairs, pairs, vectors.flatten(-2)
        return *factor_pairs(rows, at, values), vectors.flatten(-2)
