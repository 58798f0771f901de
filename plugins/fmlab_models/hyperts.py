"""HyperML with its points kept in the tangent space of the origin."""

from functools import partial
from typing import Annotated

import torch
from torch import Tensor

from fmlab.data import Schema
from fmlab.manifolds import Poincare
from fmlab.nn.features import IdTables
from fmlab.nn.initial import near_origin
from fmlab.options import Range
from fmlab_models.hyperml import HyperML


class HyperTS(HyperML):
    """HyperML on tangent vectors: users and items are `exp_0(z)`, and z is what is stored and optimised.

    `-d(exp_0(z_u), exp_0(z_i))^2`, d as in HyperML and `exp_0(z) = tanh(sqrt(c) |z|) z / (sqrt(c) |z|)`.

    Paper: Vinh Tran, Tay, Zhang, Cong, Li, HyperML: a boosting metric learning approach in hyperbolic space for
      recommender systems, WSDM 2020, section 3.4 and equations 7 to 9.

    The tangent space at the origin is Euclidean, so any
    ordinary optimizer is exact: gradients pass through the exponential map. It starts from `log_0` of HyperML's points.

    Parameters: (U + I) dim
    Cost: O(dim)
    Test: tests/models/test_metric_family.py::test_hyperts_is_hyperml_on_mapped_points
    Family: metric and hyperbolic
    """

    defaults = {"loss": "hinge", "optimizer": "adam"}
    space = {"curvature": {"float": [0.5, 8.0], "log": True}}

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Annotated[int, Range(1, None)] = 64,
        curvature: Annotated[float, Range(0, None, open_low=True)] = 1.0,
    ) -> None:
        """Raises FmlabError on data without users and items."""
        super(HyperML, self).__init__()
        self.manifold = Poincare(curvature)
        self.tables = IdTables(schema, partial(_tangents, dim=dim, manifold=self.manifold), model="hyperts")

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        user, item = (self._point(z) for z in self.tables(ids))
        return self.combine((user,), (item,))

    def user_points(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`exp_0` of the user's vector, `[*batch, dim]`."""
        return self._point(self.tables.of_user(ids))

    def item_points(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`exp_0` of the item's vector, `[*batch, dim]`."""
        return self._point(self.tables.of_item(ids))

    def _point(self, z: Tensor) -> Tensor:
        return self.manifold.exp(torch.zeros_like(z), z)


def _tangents(rows: int, dim: int, manifold: Poincare) -> Tensor:
    points = manifold.project(near_origin(rows, dim))
    return manifold.log(torch.zeros_like(points), points)
