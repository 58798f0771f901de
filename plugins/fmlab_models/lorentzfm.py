"""The Lorentzian factorization machine."""

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.manifolds import LearnedCurvature, Lorentz, ManifoldParameter
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.fm_sums import triangle_pairs
from fmlab.plugin.option import Range
from fmlab_models._options import PositiveInitStd

TWO_IDS = 0.2  # temperature of a score that is one pair, a user's and an item's


class LorentzFM(nn.Module):
    """Features are points of the unit hyperboloid; a pair scores how far it violates the Lorentz triangle inequality.

    `sum_{i != j} T(v_i, v_j) x_i x_j`, `T(u, v) = (1 - <u, v>_L - u0 - v0) / (u0 v0)`, in [-1/2, 2]

    Paper: Xu, Wu, Learning feature interactions with Lorentzian factorization machine, AAAI 2020, equations 8 and 9.

    The sum of equation 8 is over ordered pairs, so that each pair counts twice. T is equation 9. Equation 7 is twice T
    although it is printed with T's bounds; T is implemented. "x0 >= beta" and "0 = (beta, 0, ...)" hold for beta = 1,
    the only case used. There is no bias, no linear term and no L2.

    On the hyperboloid of curvature `-c`, `{v : <v, v>_L = -1/c}` with the origin `(1/sqrt(c), 0, ...)`, equation 9 with
    `<0, v>_L` written out is `T_c(u, v) = c T(sqrt(c) u, sqrt(c) v)`: the score of points measured in radii of
    curvature, times c. Points are stored so, on the unit hyperboloid; `curvature` bounds what a pair gives, to
    `[-c/2, 2c]`, and the order of scores is the same at every c. With `learn_curvature` it is trained with the points.

    A point has `dim` ambient coordinates, of which `dim - 1` are stored: `v0 = sqrt(1 + |v|^2)`. With
    `c = 1 - 1/v0` and `b = v/v0`, `T(u, v) = c_u c_v - <b_u, b_v>`, hence in time linear in the columns
    `score = (sum c x)^2 - |sum b x|^2 + sum (|b|^2 - c^2) x^2`, where `|b|^2 - c^2 = 2 c / v0`.

    The paper gives no initialization: stored coordinates are N(0, init_std), near the origin, where T is 0.

    Losses over sampled items read the score divided by `temperature`: 1, but 1/5 where a row is a user and an item and
    nothing else; the steps of `radagrad`, which a temperature would not change, are multiplied by its inverse. The
    score of their one pair lies in [-1, 4]; taken for log-odds as it stands, it cannot say that an item is unlikely,
    and a loss that asks for more drives all points to where it no longer tells items apart. The rows of the paper have
    66 pairs and more.

    Cost: O(C dim)
    Test: tests/models/test_model_oracles.py::test_lorentzfm_is_its_sum_over_ordered_pairs
    Family: metric and hyperbolic
    """

    defaults = {"loss": "bce", "optimizer": "radagrad"}
    manifold = Lorentz()
    item_measure = "minus the hyperbolic distance of the centroids of the items' features"
    signature: Tensor
    temperature: float

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, learn_curvature: bool, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return schema.n_features * (dim - 1) + learn_curvature

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Annotated[int, Range(2, None), "size of the embedding vectors"] = 10,
        init_std: PositiveInitStd = 0.01,
        temperature: Annotated[
            Annotated[float, Range(0, None, open_low=True)] | None,
            "divisor of scores in losses over candidates; null is 1/5 for rows of a user and an item alone, else 1",
        ] = None,
        curvature: Annotated[
            float, Range(0, None, open_low=True), "absolute curvature of hyperbolic space, a factor of scores"
        ] = 1.0,
        learn_curvature: Annotated[bool, "whether the curvature is trained, from that value on"] = False,
    ) -> None:
        """`init_std` is not 0, since at the origin of all points there is no gradient.

        `temperature: null` is what is said above.
        """
        super().__init__()
        self.temperature = _temperature(schema) if temperature is None else temperature
        self.curvature = curvature
        self.learned_curvature = LearnedCurvature(curvature) if learn_curvature else None
        points = init_std * torch.randn(schema.n_features, dim - 1)
        self.table = EmbeddingTable(ManifoldParameter(points, self.manifold, step_scale=1 / self.temperature))
        self.register_buffer("signature", torch.tensor([1.0] + [-1.0] * (dim - 1)), persistent=False)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        return self.encode_item(ids, values)[0]

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pairs within the query, and `2 (sum c x, -sum b x)`: a pair across the sides counts twice as well."""
        bias, vector = self.encode_item(ids, values)
        return bias, self._times_curvature(vector * (2 * self.signature))

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pairs within the item, and `(sum c x, sum b x)`, of width `dim`."""
        bias, vector = triangle_pairs(*self.table.rows(ids), values)
        return self._times_curvature(bias), vector

    def _times_curvature(self, scores: Tensor) -> Tensor:
        if self.learned_curvature is not None:
            return scores * self.learned_curvature()
        return scores if self.curvature == 1 else scores * self.curvature

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z

    def column_pairs(self, ids: Tensor, values: Tensor | None = None) -> tuple[str, Tensor]:
        """`T(v_i, v_j) x_i x_j` of every two columns, `[*batch, columns, columns]`, as `fmlab plot` shows it.

        The score counts each pair twice.
        """
        v = self.table(ids).double()
        v0 = (1 + v.square().sum(-1, keepdim=True)).sqrt()
        pairs = (1 + v0 @ v0.mT - v @ v.mT - v0 - v0.mT) / (v0 @ v0.mT)
        return "Triangle scores T", pairs if values is None else pairs * (values.unsqueeze(-1) * values.unsqueeze(-2))

    def compare_items(
        self, ids: Tensor, values: Tensor | None, others: Tensor, other_values: Tensor | None = None
    ) -> Tensor:
        """Minus the distance of every two items `[q, n]`, in radii of curvature.

        The point of an item is the centroid of its features.
        """
        left, right = self._centroid(ids, values), self._centroid(others, other_values)
        return -self.manifold.dist(left.unsqueeze(-2), right.unsqueeze(-3))

    def _centroid(self, ids: Tensor, values: Tensor | None) -> Tensor:
        """`m / sqrt(m0^2 - |m|^2)` of `m = sum |x| v` in ambient coordinates, stored ones of it: `[*batch, dim - 1]`.

        Paper: Law, Liao, Snell, Zemel, Lorentzian distance learning for hyperbolic representations, ICML 2019.
        """
        v = self.table(ids).double()
        if ids.shape[-1] == 1:
            return v.squeeze(-2)
        x = v.new_ones(v.shape[:-1]) if values is None else values.double().abs()
        time = ((1 + v.square().sum(-1)).sqrt() * x).sum(-1, keepdim=True)
        space = (v * x.unsqueeze(-1)).sum(-2)
        return space / (time.square() - space.square().sum(-1, keepdim=True)).clamp_min(1e-30).sqrt()


def _temperature(schema: Schema) -> float:
    sides = {field.side for field in schema.fields}
    return TWO_IDS if schema.n_columns == 2 and sides == {"user", "item"} else 1.0
