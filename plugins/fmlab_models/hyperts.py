"""HyperML with its points kept in the tangent space of the origin."""

import torch
from torch import Tensor

from fmlab.nn.init import near_origin
from fmlab_models.hyperml import HyperML


class HyperTS(HyperML):
    """HyperML on tangent vectors: users and items are `exp_0(z)`, and z is what is stored and optimised.

    `-d(exp_0(z_u), exp_0(z_i))^2`, d as in HyperML and `exp_0(z) = tanh(sqrt(c) |z|) z / (sqrt(c) |z|)`.

    Paper: Vinh Tran, Tay, Zhang, Cong, Li, HyperML: a boosting metric learning approach in hyperbolic space for
      recommender systems, WSDM 2020, section 3.4 and equations 7 to 9.

    The tangent space at the origin is Euclidean, so any ordinary optimizer is exact: gradients pass through the
    exponential map. It starts from `log_0` of HyperML's points.

    Parameters: (U + I) dim
    Cost: O(dim)
    Test: tests/models/test_metric_family.py::test_hyperts_is_hyperml_on_mapped_points
    Family: metric and hyperbolic
    """

    defaults = {"loss": "hinge", "optimizer": "adam"}
    space = {"curvature": {"float": [0.5, 8.0], "log": True}}

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        user, item = (self._point(z) for z in self.tables(ids))
        return self.interact((user,), (item,))

    def user_points(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`exp_0` of the user's vector, `[*batch, dim]`."""
        return self._point(self.tables.of_user(ids))

    def item_points(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`exp_0` of the item's vector, `[*batch, dim]`."""
        return self._point(self.tables.of_item(ids))

    def _point(self, z: Tensor) -> Tensor:
        return self.manifold.exp(torch.zeros_like(z), z)

    def _start(self, rows: int, dim: int) -> Tensor:
        points = self.manifold.project(near_origin(rows, dim))
        return self.manifold.log(torch.zeros_like(points), points)
