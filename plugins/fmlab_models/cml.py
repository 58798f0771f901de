"""Collaborative metric learning."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.manifolds import Euclidean
from fmlab.nn.features import UserItemEmbeddings
from fmlab.nn.init import near_origin
from fmlab.nn.sizes import user_item_rows
from fmlab_models._options import Dim


class CML(nn.Module):
    """Minus the squared Euclidean distance of user and item, both within the unit ball; it reads ids only.

    `-|p - q|^2`

    Paper: Hsieh, Yang, Cui, Lin, Belongie, Estrin, Collaborative metric learning, WWW 2017.

    It is the model that HyperML is compared with (Vinh Tran et al., WSDM 2020): no weights by rank, no feature loss, no
    covariance penalty. Vectors longer than 1 are clipped to length 1 where they are read, which holds for every
    optimizer.

    Cost: O(dim)
    Test: tests/models/test_model_oracles.py::test_cml_scores_minus_the_squared_distance_within_the_unit_ball
    Family: metric and hyperbolic
    """

    defaults = {"loss": "hinge", "optimizer": "adagrad"}
    manifold = Euclidean()

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return user_item_rows(schema) * dim

    def __init__(self, schema: Schema, *, dim: Dim = 64) -> None:
        """Raises FmlabError on data without users and items."""
        super().__init__()
        self.tables = UserItemEmbeddings(schema, partial(near_origin, dim=dim), model="cml")

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        user, item = self.tables(ids)
        return self.interact((clip(user),), (clip(item),))

    def user_points(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`[*batch, dim]`."""
        return clip(self.tables.of_user(ids))

    def item_points(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`[*batch, dim]`."""
        return clip(self.tables.of_item(ids))

    def query_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """The user's point."""
        return (self.user_points(ids),)

    def item_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """The item's point."""
        return (self.item_points(ids),)

    def interact(self, user: tuple[Tensor, ...], item: tuple[Tensor, ...]) -> Tensor:
        """`-|u - v|^2`."""
        return -(user[0] - item[0]).square().sum(-1)

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`-|u|^2` and `2u`."""
        u = self.user_points(ids)
        return -u.square().sum(-1), 2 * u

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`-|v|^2` and `v`."""
        v = self.item_points(ids)
        return -v.square().sum(-1), v

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z


def clip(points: Tensor) -> Tensor:
    """`[*, dim]`, those longer than 1 shortened to 1."""
    return points / torch.linalg.vector_norm(points, dim=-1, keepdim=True).clamp_min(1.0)
