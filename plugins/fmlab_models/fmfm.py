"""Factorization machines with a matrix between every two fields: FwFM, FvFM and FmFM."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.errors import FmlabError
from fmlab.nn.fields import FieldEmbeddings, FieldSums, query_and_item
from fmlab.nn.geometry import Curvature, Geometry, LearnCurvature, Space, lifted_width, n_curvatures
from fmlab.nn.sizes import n_multi_valued, pair_count
from fmlab.plugin.option import Range
from fmlab_models._flops import flops
from fmlab_models._lookup import LookedUp
from fmlab_models._matrices import FieldMatrices, Kind
from fmlab_models._options import Dim, PositiveInitStd

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
        return self.bias + self._within(self.tables(ids, values, self.all), self.matrices(), self.all)

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
        linear = read.weight
        if self.linear is not None:
            linear = read.sums @ self.linear[sum(self.dims[: fields.start]) : sum(self.dims[: fields.stop])]
        pairs = self.matrices.form(read.sums, dense, fields)
        for f, slots in read.slots:  # no slot interacts with itself
            pairs = pairs - self.matrices.form(slots, dense, range(f, f + 1)).sum(-1)
        return linear + 0.5 * pairs

    def _items_are_wider(self) -> bool:
        return sum(self.dims[f] for f in self.items) > sum(self.dims[f] for f in self.query)


def _shared(schema: Schema, dim: int, linear: str, geometry: str, learn_curvature: bool) -> int:
    """Bias, vectors, linear part and curvatures, of vectors of one size."""
    fields = len(schema.fields) * lifted_width(geometry, dim)
    vectors = schema.n_features * dim + n_curvatures(geometry, learn_curvature)
    return 1 + vectors + (schema.n_features if linear == "plain" else fields)


def _met(schema: Schema) -> int:
    """Pairs of fields that stand in a row: of a multi-valued one with itself too."""
    return pair_count(len(schema.fields)) + n_multi_valued(schema)


class FwFM(FieldMatrixFM):
    """A factorization machine with a weight for every two fields.

    `w0 + linear + sum_{i<j} r_{F(i),F(j)} <v_i, v_j> x_i x_j`, where the linear part is `sum <v_i, w_F(i)> x_i`, or
    `sum w_i x_i` with `linear=plain`.

    Paper: Pan, Xu, Ruiz, Zhao, Pan, Sun, Lu, Field-weighted factorization machines for click-through rate prediction
      in display advertising, WWW 2018, equation 6.

    Cost: O(C dim + F^2 dim)
    Test: tests/models/test_fmfm.py::test_scores_and_gradients_are_those_of_the_double_sum
    Family: linear and pairwise
    """

    defaults = {"loss": "bce", "optimizer": "adam"}
    space = {"linear": {"choice": ["field", "plain"]}}

    @staticmethod
    def n_parameters(
        schema: Schema,
        *,
        dim: int,
        linear: str,
        geometry: str = "euclidean",
        learn_curvature: bool = False,
        **_: Any,
    ) -> int:
        """Parameters that gradients train, without building the model."""
        return _shared(schema, dim, linear, geometry, learn_curvature) + _met(schema)

    @staticmethod
    def n_operations(schema: Schema, *, dim: int, geometry: str = "euclidean", cached: bool = False, **_: Any) -> int:
        """Of a row of single-valued fields, as FmFM counts them (table 4); `cached`: with vectors looked up."""
        return flops("fwfm", (lifted_width(geometry, dim),) * len(schema.fields), cached=cached)

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        linear: Linear = "field",
        init_std: PositiveInitStd = 0.01,
        geometry: Space = "euclidean",
        curvature: Curvature = 1.0,
        learn_curvature: LearnCurvature = False,
    ) -> None:
        """Vectors start at N(0, init_std); weights of fields and of pairs of fields at N(0, 1), as the authors' do."""
        space, dims = Geometry(geometry, curvature, learn_curvature), (dim,) * len(schema.fields)
        super().__init__(schema, "scalar", dims, linear=linear, init_std=init_std, geometry=space)


class FvFM(FieldMatrixFM):
    """A factorization machine with a vector for every two fields.

    `w0 + linear + sum_{i<j} <v_i * d_{F(i),F(j)}, v_j> x_i x_j`, the linear part as in FwFM.

    Paper: Sun, Pan, Zhang, Flores, FM²: field-matrixed factorization machines for recommender systems, WWW 2021,
      section 3.1.3.

    The authors' released code gives all coordinates of a pair one weight; here d is the vector.

    Cost: O(C dim + F^2 dim)
    Test: tests/models/test_fmfm.py::test_scores_and_gradients_are_those_of_the_double_sum
    Family: linear and pairwise
    """

    defaults = {"loss": "bce", "optimizer": "adam"}
    space = {"linear": {"choice": ["field", "plain"]}}

    @staticmethod
    def n_parameters(
        schema: Schema,
        *,
        dim: int,
        linear: str,
        geometry: str = "euclidean",
        learn_curvature: bool = False,
        **_: Any,
    ) -> int:
        """Parameters that gradients train, without building the model."""
        return _shared(schema, dim, linear, geometry, learn_curvature) + _met(schema) * lifted_width(geometry, dim)

    @staticmethod
    def n_operations(schema: Schema, *, dim: int, geometry: str = "euclidean", cached: bool = False, **_: Any) -> int:
        """Of a row of single-valued fields, as FmFM counts them (table 4); `cached`: with vectors looked up."""
        return flops("fvfm", (lifted_width(geometry, dim),) * len(schema.fields), cached=cached)

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 16,
        linear: Linear = "field",
        init_std: PositiveInitStd = 0.01,
        geometry: Space = "euclidean",
        curvature: Curvature = 1.0,
        learn_curvature: LearnCurvature = False,
    ) -> None:
        """Vectors start at N(0, init_std); vectors of fields and of pairs of fields at N(0, 1), as the authors' do."""
        space, dims = Geometry(geometry, curvature, learn_curvature), (dim,) * len(schema.fields)
        super().__init__(schema, "vector", dims, linear=linear, init_std=init_std, geometry=space)


class FmFM(FieldMatrixFM):
    """A factorization machine with a matrix for every two fields, and vectors of any size for each field.

    `w0 + linear + sum_{i<j} <v_i M_{F(i),F(j)}, v_j> x_i x_j`, the linear part as in FwFM.

    Paper: Sun, Pan, Zhang, Flores, FM²: field-matrixed factorization machines for recommender systems, WWW 2021,
      equation 7 and section 4.

    `dims` gives each field its own size (section 4.1). The paper's way to them takes two trainings: `variance=0.95
    warm_start=[runs/.../best.ckpt]` reads them from a trained fwfm, fvfm or fmfm, as the fewest principal components
    of each field's vectors that keep that share of their variance, and trains anew.

    Cost: O(C dim + F^2 dim^2)
    Test: tests/models/test_fmfm.py::test_scores_and_gradients_are_those_of_the_double_sum
    Family: linear and pairwise
    """

    defaults = {"loss": "bce", "optimizer": "adam"}
    space = {"linear": {"choice": ["field", "plain"]}}

    @staticmethod
    def n_parameters(
        schema: Schema,
        *,
        dim: int,
        dims: Sequence[int] | None,
        linear: str,
        geometry: str = "euclidean",
        learn_curvature: bool = False,
        **_: Any,
    ) -> int:
        """Parameters that gradients train, without building the model."""
        stored = list(dims or [dim] * len(schema.fields))
        sizes = [lifted_width(geometry, k) for k in stored]
        vectors = sum(f.size * k for f, k in zip(schema.fields, stored, strict=True))
        matrices = sum(a * b for a, b in combinations(sizes, 2))
        matrices += sum(k * k for f, k in zip(schema.fields, sizes, strict=True) if f.slots > 1)
        linear_part = schema.n_features if linear == "plain" else sum(sizes)
        return 1 + vectors + linear_part + matrices + n_curvatures(geometry, learn_curvature)

    @staticmethod
    def n_operations(
        schema: Schema,
        *,
        dim: int,
        dims: Sequence[int] | None = None,
        geometry: str = "euclidean",
        cached: bool = False,
        **_: Any,
    ) -> int:
        """Of a row of single-valued fields, as FmFM counts them (table 4); `cached`: with vectors looked up."""
        sizes = [lifted_width(geometry, k) for k in dims or (dim,) * len(schema.fields)]
        return flops("fmfm", sizes, cached=cached)

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 16,
        dims: Annotated[tuple[int, ...] | None, "size of the vectors of each field; null is dim for all"] = None,
        variance: Annotated[
            Annotated[float, Range(0, 1, open_low=True)] | None,
            "share of the variance that each field's principal components keep",
        ] = None,
        linear: Linear = "field",
        init_std: PositiveInitStd = 0.01,
        geometry: Space = "euclidean",
        curvature: Curvature = 1.0,
        learn_curvature: LearnCurvature = False,
    ) -> None:
        """Raises FmlabError unless `dims` has one size for each field, in the order of the schema."""
        if variance is not None and dims is None:
            raise FmlabError(
                f"variance={variance} needs a trained model that sizes are read from, got none; give "
                "warm_start=[runs/.../best.ckpt] of an fmfm, or the sizes themselves, dims=[...]"
            )
        sizes = (dim,) * len(schema.fields) if dims is None else dims
        if len(sizes) != len(schema.fields) or min(sizes) < 1:
            names = ", ".join(f.name for f in schema.fields)
            raise FmlabError(f"dims must have a size >= 1 for each of the fields {names}; got {list(sizes)}")
        space = Geometry(geometry, curvature, learn_curvature)
        super().__init__(schema, "matrix", sizes, linear=linear, init_std=init_std, geometry=space)

    @classmethod
    def options_from(cls, options: Mapping[str, Any], *trained: Any) -> dict[str, Any]:
        """`dims` of one trained model by `variance`; raises FmlabError if it has no vectors by field."""
        if options.get("variance") is None or options.get("dims") is not None:
            return {}
        if len(trained) != 1 or not isinstance(trained[0], FieldMatrixFM):
            got = ", ".join(type(m).__name__ for m in trained)
            raise FmlabError(f"sizes by variance are read from one trained fwfm, fvfm or fmfm, got {got}")
        if not trained[0].tables.geometry.flat:
            got = trained[0].tables.geometry.space
            raise FmlabError(f"sizes by variance are read from flat vectors, got geometry={got}; give dims=[...]")
        return {"dims": list(field_dims(trained[0], options["variance"]))}


def field_dims(model: FieldMatrixFM, variance: float = 0.95) -> tuple[int, ...]:
    """The fewest principal components of each field's vectors that keep a share of their variance (section 4.1).

    They are the `dims` of the second of two trainings. A field without variance gets one.
    """
    sizes = []
    for f in range(len(model.dims)):
        vectors = model.tables.vectors(f).detach().double()
        spectrum = torch.linalg.svdvals(vectors - vectors.mean(0)).square()
        enough = spectrum.cumsum(0) >= variance * spectrum.sum() * (1 - 1e-12)
        sizes.append(1 + int(enough.int().argmax()))
    return tuple(sizes)
