"""The field-aware factorization machine."""

from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fmlab.data import Schema
from fmlab.errors import FmlabError
from fmlab.nn.fields import FieldEmbeddings, query_and_item
from fmlab_models._flops import flops
from fmlab_models._options import Dim, PositiveInitStd


class FFM(nn.Module):
    """`w0 + sum w_i x_i + sum_{i<j} <v_{i,F(j)}, v_{j,F(i)}> x_i x_j`: a vector for each feature and other field.

    Paper: Juan, Zhuang, Chin, Lin, Field-aware factorization machines for CTR prediction, RecSys 2016; equation 5 of
      FmFM (Sun et al., WWW 2021), which counts `F - 1` vectors a feature.

    A feature's vectors stand in one row of a table. Rows are read once and summed over the slots of their field;
    then every vector meets its partner. Features in two slots of one field meet by one more vector each, which
    features of other fields do not have. The sides meet in vectors of width `dim` * query fields * item fields.

    Cost: O(C F dim)
    Test: tests/models/test_ffm.py::test_scores_and_gradients_are_those_of_the_double_sum
    Family: linear and pairwise
    """

    defaults = {"loss": "bce", "optimizer": "adam"}

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        vectors = sum(f.size * (len(schema.fields) - 1 + (f.slots > 1)) for f in schema.fields)
        return 1 + schema.n_features + vectors * dim

    @staticmethod
    def n_operations(schema: Schema, *, dim: int, **_: Any) -> int:
        """Of a row of single-valued fields, as FmFM counts them (table 4)."""
        return flops("ffm", (dim,) * len(schema.fields))

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        init_std: PositiveInitStd = 0.01,
    ) -> None:
        """Weights start at 0, vectors at N(0, init_std). Raises FmlabError on data with a single field."""
        super().__init__()
        n = len(schema.fields)
        if n < 2:
            raise FmlabError(f"ffm needs two fields or more, got {n}; models that do with one: lr, fm")
        vectors = tuple(n - 1 + (f.slots > 1) for f in schema.fields)
        self.dim = dim
        self.bias = nn.Parameter(torch.zeros(()))
        self.tables = FieldEmbeddings(schema, tuple(dim * v for v in vectors), std=init_std, weights=True)
        query, items = query_and_item(schema)
        self.whole, self.query, self.items = (
            _Meeting(vectors, fields, other) for fields, other in ((range(n), range(0)), (query, items), (items, query))
        )

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        return self.bias + self._read(ids, values, self.whole)[0]

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`w0` with the weights and pairs within the query; its vectors for the item's fields."""
        within, vector = self._read(ids, values, self.query)
        return self.bias + within, vector

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Weights and pairs within the item; its vectors for the query's fields."""
        return self._read(ids, values, self.items)

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z

    def _read(self, ids: Tensor, values: Tensor | None, side: "_Meeting") -> tuple[Tensor, Tensor]:
        read = self.tables(ids, values, side.fields)
        vectors = read.sums.view(*read.sums.shape[:-1], -1, self.dim)
        inner = vectors if side.all else vectors.index_select(-2, side.inner)
        within = read.weight + _Meet.apply(inner, side.partner)  # type: ignore[no-untyped-call]
        for _, slots in read.slots:
            own = slots[..., -self.dim :]
            within = within + 0.5 * (own.sum(-2).square().sum(-1) - own.square().sum((-2, -1)))
        return within, vectors.index_select(-2, side.outer).flatten(-2)


class _Meeting(nn.Module):
    """Which vectors of neighboring fields meet: `inner` each other, by `partner`, and `outer` those of other fields.

    Among the vectors of a field, that for field g is number g, or g - 1 after its own number. Those that meet another
    side are ordered by the query's field, then by the item's, on both sides.
    """

    inner: Tensor
    partner: Tensor
    outer: Tensor

    def __init__(self, vectors: tuple[int, ...], fields: range, other: range) -> None:
        super().__init__()
        self.fields = fields
        start = dict(zip(fields, accumulate((vectors[f] for f in fields), initial=0), strict=False))
        pairs = [(f, g) for f in fields for g in fields if f != g]
        number = {pair: n for n, pair in enumerate(pairs)}
        across = sorted(((f, g) for f in fields for g in other), key=sorted)
        places = {
            "inner": [start[f] + g - (g > f) for f, g in pairs],
            "partner": [number[g, f] for f, g in pairs],
            "outer": [start[f] + g - (g > f) for f, g in across],
        }
        for name, place in places.items():
            self.register_buffer(name, torch.tensor(place, dtype=torch.int64), persistent=False)
        self.all = places["inner"] == list(range(sum(vectors)))


class _Meet(torch.autograd.Function):
    """Half the sum of the inner products of every vector with its partner: `[*batch, n, k]`, `[n]` -> `[*batch]`."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, partner: Tensor) -> Tensor:
        partners = vectors.index_select(-2, partner)
        ctx.save_for_backward(partners)
        return 0.5 * (vectors * partners).flatten(-2).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (partners,) = ctx.saved_tensors  # a vector stands in two products, each of which counts half
        return partners * grad[..., None, None], None
