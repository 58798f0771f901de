"""What FwFM, FvFM and FmFM share: a factorization machine with a matrix between every two fields."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from fmlab.contracts.model import Scorer
from fmlab.data import Schema
from fmlab.nn.fields import FieldEmbeddings, FieldSums, query_and_item
from fmlab.nn.geometry import Geometry
from fmlab.nn.pair_gates import PairGates
from fmlab_models._lookup import LookedUp
from fmlab_models._matrices import FieldMatrices, Kind

Linear = Annotated[Literal["field", "plain"], "whether linear weights are vectors of fields or numbers"]


class FieldMatrixFM(nn.Module):
    """`w0 + linear + sum_{i<j} <v_i M_{F(i),F(j)}, v_j> x_i x_j`; the kind of M says which model it is.

    Paper: Sun, Pan, Zhang, Flores, FM²: field-matrixed factorization machines for recommender systems, WWW 2021,
      equations 7, 10 and 12, and table 1.

    M is the identity (FM), `r I` (FwFM), `diag(d)` (FvFM) or any matrix (FmFM), one for each two fields. With
    `s_f = sum x v` over the slots of field f, and `M_{g,f} = M_{f,g}^T`,

        sum over pairs of fields = 1/2 sum_f <sum_{g != f} s_g M_{g,f}, s_f>

    which is one product of `[batch, D]` with `[D, D]` for matrices, `D` the sizes of all fields together, and for
    the others one of `[batch * K, F]` with `[F, F]`, or K of `[batch, F]` with `[F, F]`. Features in two slots of one
    field interact too, through the symmetric part of a matrix `M_{f,f}`, which single-valued fields do not have.

    The two sides meet in vectors as wide as the narrower one: `v_i M` is taken toward the smaller sizes (section
    4.3). When all items are ranked these vectors are made once for each, the cache of section 4.2; for rows of any
    kind `cached` gives a copy that looks up all of them.

    With a curved geometry v are displacements of points from the origin in the ambient space, `fmlab.nn.geometry`, and
    the inner product is the one of that space: weights r multiply it, d and M take its place.
    """

    defaults = {"loss": "bce", "optimizer": "adam"}
    space = {"linear": {"choice": ["field", "plain"]}}

    def __init__(
        self,
        schema: Schema,
        kind: Kind,
        dims: tuple[int, ...],
        *,
        linear: Linear,
        init_std: Annotated[float, "standard deviation of initial embeddings"],
        geometry: Geometry | None = None,
    ) -> None:
        """`dims`: the size of each field's vectors. `linear`: `<v_i, w_F(i)>` (equation 12) or `w_i`."""
        super().__init__()
        geometry = Geometry() if geometry is None else geometry
        self.dims, self.all = tuple(geometry.width(d) for d in dims), range(len(dims))
        self.query, self.items = query_and_item(schema)
        self.bias = nn.Parameter(torch.zeros(()))
        self.tables = FieldEmbeddings(schema, dims, std=init_std, weights=linear == "plain", geometry=geometry)
        self.linear = nn.Parameter(torch.randn(sum(self.dims))) if linear == "field" else None
        signed = None if geometry.flat else geometry.signed
        self.pair_gates: PairGates | None = None  # of a search of pairs
        self.matrices = FieldMatrices(kind, self.dims, [f.slots > 1 for f in schema.fields], signed)

    def field_pairs(self) -> tuple[str, Tensor]:
        """The norm of M of every two fields, `[fields, fields]`: what `fmlab plot pairs` shows."""
        dense, widths = self.matrices().detach(), self.matrices.widths
        squares = dense.square().sum(0)
        ends = torch.tensor(widths).cumsum(0).tolist()
        spans = [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]
        return "Norm of M", torch.stack([torch.stack([squares[a, b].sum().sqrt() for b in spans]) for a in spans])

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        read, dense = self.tables(ids, values, self.all), self.matrices()
        if self.pair_gates is None:
            return self.bias + self._within(read, dense, self.all)
        pairs: Tensor = self.pair_gates(self.matrices.pairs(read.sums, dense)).sum(-1)
        return self.bias + self._linear(read, self.all) + pairs + self._own(read, dense)

    def scorers(self) -> Sequence[Scorer]:
        """By its sides, unless pairs of fields have gates."""
        return ("two-tower",) if self.pair_gates is None else ()

    def gate_pairs(self, gates: PairGates) -> None:
        """Weigh the pairs of fields from now on."""
        self.pair_gates = gates

    def pair_parameters(self) -> Tensor:
        """The numbers of M of each two fields."""
        return self.matrices.pair_parameters()

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Linear part and pairs within the query; its sums, as the item's fields see them if these are narrower."""
        bias, vector = self._side(ids, values, self.query, self.items, not self._items_are_wider())
        return self.bias + bias, vector

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Linear part and pairs within the item; its sums, as the query's fields see them if these are narrower."""
        return self._side(ids, values, self.items, self.query, self._items_are_wider())

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z

    def cached(self) -> LookedUp:
        """The same scores from looked-up vectors `v_i M`, for inference."""
        return LookedUp(self)

    def linear_part(self, field: int) -> Tensor:
        """What each feature of a field adds to the linear part, `[size]`."""
        if self.linear is None:
            return self.tables.weights(field)
        start = sum(self.dims[:field])
        return self.tables.vectors(field) @ self.linear[start : start + self.dims[field]]

    def _side(
        self, ids: Tensor, values: Tensor | None, own: range, other: range, transformed: bool
    ) -> tuple[Tensor, Tensor]:
        read, dense = self.tables(ids, values, own), self.matrices()
        vector = self.matrices.through(read.sums, dense, own, other) if transformed else read.sums
        return self._within(read, dense, own), vector

    def _within(self, read: FieldSums, dense: Tensor, fields: range) -> Tensor:
        """Linear part and pairs of neighboring fields."""
        linear = self._linear(read, fields)
        pairs = self.matrices.form(read.sums, dense, fields)
        for f, slots in read.slots:  # no slot interacts with itself
            pairs = pairs - self.matrices.form(slots, dense, range(f, f + 1)).sum(-1)
        return linear + 0.5 * pairs

    def _linear(self, read: FieldSums, fields: range) -> Tensor | float:
        if self.linear is None:
            return read.weight
        return read.sums @ self.linear[sum(self.dims[: fields.start]) : sum(self.dims[: fields.stop])]

    def _own(self, read: FieldSums, dense: Tensor) -> Tensor | float:
        """Pairs within multi-valued fields, which have no gate."""
        total: Tensor | float = 0.0
        for f, slots in read.slots:
            own, start = range(f, f + 1), sum(self.dims[:f])
            whole = read.sums[..., start : start + self.dims[f]]
            total = total + 0.5 * (
                self.matrices.form(whole, dense, own) - self.matrices.form(slots, dense, own).sum(-1)
            )
        return total

    def _items_are_wider(self) -> bool:
        return sum(self.dims[f] for f in self.items) > sum(self.dims[f] for f in self.query)
