"""Metric learning in hyperbolic space."""

from functools import partial
from typing import Annotated

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.manifolds import ManifoldParameter, Poincare
from fmlab.nn.features import UserItemEmbeddings
from fmlab.nn.init import near_origin
from fmlab.plugin.option import Range

STEP_SCALE = 2.5  # of `radagrad`, by the validation of a sparse and a dense data set: docs/results/hyperml.md


class HyperML(nn.Module):
    """Minus the squared distance of user and item in the Poincaré ball of curvature `-curvature`; it reads ids only.

    `-d(p, q)^2`, `d = 2 asinh(sqrt(c a)) / sqrt(c)`, `a = |p - q|^2 / ((1 - c|p|^2)(1 - c|q|^2))`, c the curvature

    Paper: Vinh Tran, Tay, Zhang, Cong, Li, HyperML: a boosting metric learning approach in hyperbolic space for
      recommender systems, WSDM 2020, equation 9.

    The loss of equations 11 to 13 is `hinge`. d grows with `a`, and `a` is an inner product of width `dim + 2`: all
    items are ranked by one matrix product. These vectors are float64 because `a` is a small difference of large numbers
    near the rim of the ball. The "dropout 0.5" of the paper's settings is left out: zeroing coordinates of a point
    moves it. The paper's optimizer is `rsgd`; the default, `radagrad`, also trains on sparse data.

    Parameters: (U + I) dim
    Cost: O(dim)
    Test: tests/models/test_model_oracles.py::test_hyperml_scores_minus_the_squared_gyrovector_distance
    Family: metric and hyperbolic
    """

    defaults = {"loss": "hinge", "optimizer": "radagrad"}
    space = {"curvature": {"float": [0.5, 8.0], "log": True}}

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Annotated[int, Range(1, None), "size of the embedding vectors"] = 64,
        curvature: Annotated[float, Range(0, None, open_low=True), "absolute curvature of hyperbolic space"] = 1.0,
    ) -> None:
        """Raises FmlabError on data without users and items."""
        super().__init__()
        self.manifold = Poincare(curvature)
        self.tables = UserItemEmbeddings(schema, partial(self._start, dim=dim), model=type(self).__name__.lower())

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        user, item = self.tables(ids)
        return self.interact((user,), (item,))

    def user_points(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`[*batch, dim]`."""
        return self.tables.of_user(ids)

    def item_points(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`[*batch, dim]`."""
        return self.tables.of_item(ids)

    def query_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """The user's point."""
        return (self.user_points(ids),)

    def item_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """The item's point."""
        return (self.item_points(ids),)

    def interact(self, user: tuple[Tensor, ...], item: tuple[Tensor, ...]) -> Tensor:
        """`-d(u, v)^2`."""
        return -self.manifold.dist(user[0], item[0]).square()

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bias 0 and `(-|x|^2, -1, 2x) / (1 - c|x|^2)`."""
        x, square, scale = self._lift(self.user_points(ids))
        return torch.zeros_like(scale.squeeze(-1)), torch.cat([-square, -torch.ones_like(square), 2 * x], -1) * scale

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bias 0 and `(1, |y|^2, y) / (1 - c|y|^2)`."""
        y, square, scale = self._lift(self.item_points(ids))
        return torch.zeros_like(scale.squeeze(-1)), torch.cat([torch.ones_like(square), square, y], -1) * scale

    def link(self, z: Tensor) -> Tensor:
        """`-a` -> `-d^2`."""
        c = self.manifold.curvature
        a = (-c * z).clamp_min(1e-30)  # the root has no slope at 0
        return -4 / c * torch.asinh(a.sqrt()).square()

    def _lift(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = points.double()
        square = x.square().sum(-1, keepdim=True)
        return x, square, 1 / (1 - self.manifold.curvature * square)

    def _start(self, rows: int, dim: int) -> Tensor:
        return ManifoldParameter(self.manifold.project(near_origin(rows, dim)), self.manifold, step_scale=STEP_SCALE)
