"""The factorization machine."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fmlab.contracts.model import Scorer
from fmlab.data import Schema
from fmlab.errors import FmlabError
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.fm_sums import factor_pairs, factor_products
from fmlab.nn.geometry import Curvature, Geometry, LearnCurvature, Space, lifted_width, n_curvatures
from fmlab.nn.pair_gates import PairGates, gated_pairs
from fmlab.nn.sparse_lookup import gather, pool
from fmlab_models._flops import flops
from fmlab_models._options import Dim, Dropout, InitStd


class FM(nn.Module):
    """`w0 + sum w_i x_i + sum_{i<j} <v_i, v_j> x_i x_j`, in time linear in the columns.

    Paper: Rendle, Factorization machines, ICDM 2010, equation 1 and lemma 3.1.

    Dropout, 0 in that paper, falls on the `dim` sums `sum_{i<j} v_i * v_j x_i x_j` of a row, as in the comparisons of
    AFM and IFM. Where an item is scored by its side, the pairs within it drop factors of their own.

    With a curved `geometry` the vectors are points, and the inner product that of their displacements from the origin
    in the ambient space, `fmlab.nn.geometry`, at the same cost.

    Cost: O(C dim)
    Test: tests/models/test_model_oracles.py::test_fm_is_its_double_sum
    Family: linear and pairwise
    """

    space = {"dim": {"int": [4, 256], "log": True}}

    @staticmethod
    def n_parameters(
        schema: Schema, *, dim: int, geometry: str = "euclidean", learn_curvature: bool = False, **_: Any
    ) -> int:
        """Parameters that gradients train, without building the model."""
        return 1 + schema.n_features * (1 + dim) + n_curvatures(geometry, learn_curvature)

    @staticmethod
    def n_operations(schema: Schema, *, dim: int, geometry: str = "euclidean", **_: Any) -> int:
        """Of a row of single-valued fields, as FmFM counts them (table 4)."""
        return flops("fm", (lifted_width(geometry, dim),) * len(schema.fields))

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        dropout: Dropout = 0.0,
        init_std: InitStd = 0.01,
        geometry: Space = "euclidean",
        curvature: Curvature = 1.0,
        learn_curvature: LearnCurvature = False,
    ) -> None:
        """Weights start at 0, vectors at N(0, init_std). Raises FmlabError for a curvature of flat space."""
        super().__init__()
        self.dropout, self.column_field = dropout, tuple(schema.column_field)
        self.pair_gates: PairGates | None = None  # of a search of pairs
        self.bias = nn.Parameter(torch.zeros(()))
        self.geometry = Geometry(geometry, curvature, learn_curvature)
        self.table = EmbeddingTable(self.geometry.weights_and_vectors(schema.n_features, dim, init_std))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        return self.encode_query(ids, values)[0] if self.pair_gates is None else self._gated(ids, values)

    def scorers(self) -> Sequence[Scorer]:
        """By its sides, unless pairs of fields have gates."""
        return ("two-tower",) if self.pair_gates is None else ()

    def gate_pairs(self, gates: PairGates) -> None:
        """Weigh the pairs of fields from now on; raises FmlabError with dropout, which falls on sums of pairs."""
        if self.dropout:
            raise FmlabError(f"fm drops sums over pairs, which hides single pairs: got dropout={self.dropout}, take 0")
        self.pair_gates = gates

    def pair_parameters(self) -> Tensor:
        """None: pairs share the vectors."""
        fields = max(self.column_field) + 1
        return torch.zeros(fields * (fields - 1) // 2, dtype=torch.int64)

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`w0` with the weights and pairs within the query, and the sum of its vectors."""
        bias, vector, kept = self._read(ids, values)
        return self.bias + bias, self.geometry.signed(vector if kept is None else kept * vector)

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Weights and pairs within the item, and the sum of its vectors."""
        return self._read(ids, values)[:2]

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z

    def column_pairs(self, ids: Tensor, values: Tensor | None = None) -> tuple[str, Tensor]:
        """`<v_i, v_j> x_i x_j` of every two columns, `[*batch, columns, columns]`, as `fmlab plot` shows it."""
        vectors = self.geometry.lift(self.table(ids)[..., 1:])
        vectors = vectors if values is None else vectors * values.unsqueeze(-1)
        return "Inner products", vectors @ self.geometry.signed(vectors).mT

    def _gated(self, ids: Tensor, values: Tensor | None) -> Tensor:
        rows, at = self.table.rows(ids)
        rows = self.geometry.lift(rows, first=1)
        vectors = gather(rows[:, 1:], at)
        vectors = vectors if values is None else vectors * values.unsqueeze(-1)
        assert self.pair_gates is not None
        pairs = gated_pairs(vectors, self.column_field, self.pair_gates, self.geometry.signed)
        return self.bias + pool(rows[:, :1], at, values).squeeze(-1) + pairs

    def _read(self, ids: Tensor, values: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Weights and pairs, sums of vectors, and by what each factor is multiplied if some are dropped."""
        rows, at = self.table.rows(ids)
        rows = self.geometry.lift(rows, first=1)
        if not (self.training and self.dropout):
            return *factor_pairs(rows, at, values, self.geometry.square), None
        weight, products, vector = factor_products(rows, at, values)
        kept = torch.rand_like(vector).ge_(self.dropout).div_(1 - self.dropout)
        return weight + self.geometry.signed(kept * products).sum(-1), vector, kept


class StartsFromFM(nn.Module):
    """A model with the bias and the table of an FM, whose trained ones it can take over."""

    bias: nn.Parameter
    table: EmbeddingTable

    def warm_start(self, fm: FM) -> None:
        """Take over bias, weights and vectors of a trained FM on the same schema; raises FmlabError if sizes differ."""
        if not fm.geometry.flat:
            raise FmlabError(f"a pre-trained fm must have flat vectors, got geometry={fm.geometry.space}")
        if self.table.weight.shape != fm.table.weight.shape:
            got, wanted = tuple(fm.table.weight.shape), tuple(self.table.weight.shape)
            raise FmlabError(f"a pre-trained fm must have a table of {wanted} features and numbers each, got {got}")
        with torch.no_grad():
            self.bias.copy_(fm.bias)
            self.table.weight.copy_(fm.table.weight)
