"""Metric learning in hyperbolic space."""

from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.manifolds import LearnedCurvature, ManifoldParameter, Poincare
from fmlab.nn.features import UserItemEmbeddings
from fmlab.nn.init import near_origin
from fmlab.nn.sizes import user_item_rows
from fmlab.plugin.option import Range
from fmlab_models._options import Dim

STEP_SCALE = 2.5  # of `radagrad`, by the validation of a sparse and a dense data set: docs/results/hyperml.md


class HyperML(nn.Module):
    """Minus the squared distance of user and item in the Poincaré ball of curvature `-curvature`; it reads ids only.

    `-d(p, q)^2`, `d = 2 asinh(sqrt(c a)) / sqrt(c)`, `a = |p - q|^2 / ((1 - c|p|^2)(1 - c|q|^2))`, c the curvature

    Paper: Vinh Tran, Tay, Zhang, Cong, Li, HyperML: a boosting metric learning approach in hyperbolic space for
      recommender systems, WSDM 2020, equation 9.

    The loss of equations 11 to 13 is `hinge`. d grows with `a`, and `a` is an inner product of width `dim + 2`: all
    items are ranked by one matrix product. These vectors are float64 because `a` is a small difference of large numbers
    near the boundary of the ball. The "dropout 0.5" of the paper's settings is left out: zeroing coordinates of a point
    moves it. The paper's optimizer is `rsgd`; the default, `radagrad`, also trains on sparse data.

    A ball of curvature `-c` is the unit ball with lengths divided by `sqrt(c)`: the curvature divides scores by c,
    against the `margin` of the loss, and moves where points start and how far they step. With `learn_curvature` points
    are stored in the unit ball and c is trained: the score is `-d_1(p, q)^2 / c`, its order that of the unit ball.

    Cost: O(dim)
    Test: tests/models/test_model_oracles.py::test_hyperml_scores_minus_the_squared_gyrovector_distance
    Family: metric and hyperbolic
    """

    defaults = {"loss": "hinge", "optimizer": "radagrad"}
    space = {"curvature": {"float": [0.5, 8.0], "log": True}}

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, learn_curvature: bool, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return user_item_rows(schema) * dim + learn_curvature

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 64,
        curvature: Annotated[float, Range(0, None, open_low=True), "absolute curvature of hyperbolic space"] = 1.0,
        learn_curvature: Annotated[bool, "whether the curvature is trained, from that value on"] = False,
    ) -> None:
        """Raises FmlabError on data without users and items."""
        super().__init__()
        self.curvature = curvature
        self.ball = Poincare() if learn_curvature else Poincare(curvature)
        self.learned_curvature = LearnedCurvature(curvature) if learn_curvature else None
        self.tables = UserItemEmbeddings(schema, partial(self._start, dim=dim), model=type(self).__name__.lower())

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        user, item = self.tables(ids)
        return self.interact((self._in_ball(user),), (self._in_ball(item),))

    @property
    def manifold(self) -> Poincare:
        """Where points are: the ball that they are stored in, unless the curvature is learned."""
        return self.ball if self.learned_curvature is None else Poincare(self.learned_curvature())

    def user_points(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """Points of the manifold, `[*batch, dim]`."""
        return self._on_manifold(self.tables.of_user(ids))

    def item_points(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """Points of the manifold, `[*batch, dim]`."""
        return self._on_manifold(self.tables.of_item(ids))

    def query_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """The user's point in the ball."""
        return (self._in_ball(self.tables.of_user(ids)),)

    def item_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """The item's point in the ball."""
        return (self._in_ball(self.tables.of_item(ids)),)

    def interact(self, user: tuple[Tensor, ...], item: tuple[Tensor, ...]) -> Tensor:
        """`-d(u, v)^2`."""
        return self._over_curvature(-self.ball.dist(user[0], item[0]).square())

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bias 0 and `(-|x|^2, -1, 2x) / (1 - c|x|^2)`."""
        x, square, scale = self._lift(*self.query_state(ids))
        return torch.zeros_like(scale.squeeze(-1)), torch.cat([-square, -torch.ones_like(square), 2 * x], -1) * scale

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bias 0 and `(1, |y|^2, y) / (1 - c|y|^2)`."""
        y, square, scale = self._lift(*self.item_state(ids))
        return torch.zeros_like(scale.squeeze(-1)), torch.cat([torch.ones_like(square), square, y], -1) * scale

    def link(self, z: Tensor) -> Tensor:
        """`-a` -> `-d^2`."""
        c = self.ball.curvature
        a = (-c * z).clamp_min(1e-30)  # the root has no slope at 0
        return self._over_curvature(-4 / c * torch.asinh(a.sqrt()).square())

    def _lift(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = points.double()
        square = x.square().sum(-1, keepdim=True)
        return x, square, 1 / (1 - self.ball.curvature * square)

    def _start(self, rows: int, dim: int) -> Tensor:
        points = Poincare(self.curvature).project(near_origin(rows, dim))
        if self.learned_curvature is not None:
            points *= self.curvature**0.5
        return ManifoldParameter(points, self.ball, step_scale=STEP_SCALE)

    def _in_ball(self, stored: Tensor) -> Tensor:
        return stored

    def _on_manifold(self, stored: Tensor) -> Tensor:
        points = self._in_ball(stored)
        return points if self.learned_curvature is None else points / self.learned_curvature() ** 0.5

    def _over_curvature(self, scores: Tensor) -> Tensor:
        return scores if self.learned_curvature is None else scores / self.learned_curvature()
