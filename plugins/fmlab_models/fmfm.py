"""Factorization machines with a matrix between every two fields: FwFM, FvFM and FmFM."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Annotated, Any

import torch

from fmlab.data import Schema
from fmlab.errors import FmlabError
from fmlab.nn.geometry import Curvature, Geometry, LearnCurvature, Space, lifted_width, n_curvatures
from fmlab.nn.sizes import n_multi_valued, pair_count
from fmlab.plugin.option import Range
from fmlab_models._field_matrix_fm import FieldMatrixFM, Linear
from fmlab_models._flops import flops
from fmlab_models._options import Dim, PositiveInitStd


def _width(*, dim: int, geometry: str = "euclidean", **_: Any) -> int:
    """Of the vectors of a field, of one size for all fields."""
    return lifted_width(geometry, dim)


def _shared(
    schema: Schema, *, dim: int, linear: str, geometry: str = "euclidean", learn_curvature: bool = False, **_: Any
) -> int:
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

    @staticmethod
    def n_parameters(schema: Schema, **options: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return _shared(schema, **options) + _met(schema)

    @staticmethod
    def n_operations(schema: Schema, *, cached: bool = False, **options: Any) -> int:
        """Of a row of single-valued fields, as FmFM counts them (table 4); `cached`: with vectors looked up."""
        return flops("fwfm", (_width(**options),) * len(schema.fields), cached=cached)

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

    @staticmethod
    def n_parameters(schema: Schema, **options: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return _shared(schema, **options) + _met(schema) * _width(**options)

    @staticmethod
    def n_operations(schema: Schema, *, cached: bool = False, **options: Any) -> int:
        """Of a row of single-valued fields, as FmFM counts them (table 4); `cached`: with vectors looked up."""
        return flops("fvfm", (_width(**options),) * len(schema.fields), cached=cached)

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
