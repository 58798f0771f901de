"""Light graph convolution."""

from typing import Any

import torch
from torch import Tensor

from fmlab.data import Schema
from fmlab.data.batch import Batch
from fmlab.nn.geometry import Curvature, Geometry, LearnCurvature, Space, n_curvatures
from fmlab.nn.sizes import user_item_rows
from fmlab_models._batch_l2 import BatchL2, looked_up_norm
from fmlab_models._graph import GraphModel
from fmlab_models._options import Dim, Layers, PositiveInitStd


class LightGCN(GraphModel):
    """The inner product of user and item vectors, each the mean of itself passed 0 to `layers` times along the graph.

    `e = 1 / (L + 1) sum_{l=0..L} (D^-1/2 A D^-1/2)^l e_0`, A the graph of the training positives; it reads ids only.

    Paper: He, Deng, Wang, Li, Zhang, Wang, LightGCN: simplifying and powering graph convolution network for
      recommendation, SIGIR 2020, equations 3 to 8.

    Its L2 is `batch_l2`, 1e-4 in the paper, on the first vectors of what a batch looks up. The optimizer's
    `weight_decay` is one on all vectors in each step, and far stronger at the same number.

    With a curved `geometry` the first vectors are points: their logarithms at the origin are passed along the graph,
    as in HGCF (Sun et al., WWW 2021, section 3.2), the means are points again, and the inner product is that of their
    displacements from the origin in the ambient space, `fmlab.nn.geometry`.

    Cost: O(dim), after one pass over the graph for all rows
    Test: tests/models/test_lightgcn_ngcf.py::test_lightgcn_is_the_mean_of_powers_of_the_adjacency
    Family: collaborative
    """

    defaults = {"loss": "bpr", "optimizer": "adam"}
    space = {"layers": {"int": [1, 4]}}

    @staticmethod
    def n_parameters(
        schema: Schema, *, dim: int, geometry: str = "euclidean", learn_curvature: bool = False, **_: Any
    ) -> int:
        """Parameters that gradients train, without building the model."""
        return user_item_rows(schema) * dim + n_curvatures(geometry, learn_curvature)

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 64,
        layers: Layers = 3,
        init_std: PositiveInitStd = 0.1,
        batch_l2: BatchL2 = 0.0,
        geometry: Space = "euclidean",
        curvature: Curvature = 1.0,
        learn_curvature: LearnCurvature = False,
    ) -> None:
        """Vectors start at N(0, init_std), as the authors' do.

        Raises FmlabError on data without users and items, and for a curvature of flat space.
        """
        space = Geometry(geometry, curvature, learn_curvature)
        start = space.table(init_std * torch.randn(schema.n_users + schema.n_items + 2, dim))
        super().__init__(schema, start, space.width(dim), "lightgcn", space)
        self.layers, self.batch_l2 = layers, batch_l2

    def batch_regularization(self, batch: Batch) -> Tensor:
        """Of first vectors, as they are stored."""
        return looked_up_norm(self.batch_l2, batch, self.first_of_user, self.first_of_item)

    def propagate(self) -> Tensor:
        """Equation 8 for all nodes, `[nodes, dim]`, or the ambient vectors of their points."""
        mean = self.graph.mean_of_layers(self.geometry.tangent(self.nodes), self.layers)
        return self.geometry.lift(self.geometry.point(mean))
