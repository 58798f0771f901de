"""HyperML with its points kept in the tangent space of the origin."""

from torch import Tensor

from fmlab.manifolds import Poincare
from fmlab.nn.init import near_origin
from fmlab_models.hyperml import HyperML


class HyperTS(HyperML):
    """HyperML on tangent vectors: users and items are `exp_0(z)`, and z is what is stored and optimized.

    `-d(exp_0(z_u), exp_0(z_i))^2`, d as in HyperML and `exp_0(z) = tanh(sqrt(c) |z|) z / (sqrt(c) |z|)`.

    Paper: Vinh Tran, Tay, Zhang, Cong, Li, HyperML: a boosting metric learning approach in hyperbolic space for
      recommender systems, WSDM 2020, section 3.4 and equations 7 to 9.

    The tangent space at the origin is Euclidean, so any ordinary optimizer is exact: gradients pass through the
    exponential map. It starts from `log_0` of HyperML's points. With `learn_curvature` c is trained with the vectors,
    and bends the space between them: as c tends to 0 the score tends to `-4 |z_u - z_i|^2`.

    Cost: O(dim)
    Test: tests/models/test_lrml_hyperts.py::test_hyperts_is_hyperml_on_mapped_points
    Family: metric and hyperbolic
    """

    defaults = {"loss": "hinge", "optimizer": "adam"}
    space = {"curvature": {"float": [0.5, 8.0], "log": True}}

    def _in_ball(self, stored: Tensor) -> Tensor:
        if self.learned_curvature is None:
            return self.ball.expmap0(stored)
        return self.ball.expmap0(stored * self.learned_curvature() ** 0.5)

    def _start(self, rows: int, dim: int) -> Tensor:
        ball = Poincare(self.curvature)
        return ball.logmap0(ball.project(near_origin(rows, dim)))
