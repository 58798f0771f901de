"""Matrix factorization."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.data.batch import Batch
from fmlab.nn.features import UserItemEmbeddings
from fmlab.nn.geometry import Curvature, Geometry, LearnCurvature, Space, n_curvatures
from fmlab.nn.sizes import user_item_rows
from fmlab_models._batch_l2 import BatchL2, looked_up_norm
from fmlab_models._options import Dim, InitStd


class MF(nn.Module):
    """Global, user and item biases plus the inner product of user and item vectors; it reads ids only.

    `b + b_u + b_i + <p_u, q_i>`

    Paper: Koren, Bell, Volinsky, Matrix factorization techniques for recommender systems, Computer 2009, equation 4.

    With the loss `bpr` it is BPR-MF (Rendle et al., UAI 2009), where global and user biases stay at 0:
    they have no gradient, and `fmlab.nn.scoring.score` leaves them out. `batch_l2` is its regularization in
    the code of NGCF and LightGCN (1e-4 there), far weaker than the same number as the optimizer's `weight_decay`.

    With a curved `geometry` the vectors are points, and the inner product that of their displacements from the origin
    in the ambient space, `fmlab.nn.geometry`.

    Cost: O(dim)
    Test: tests/models/test_model_oracles.py::test_mf_reads_the_first_user_and_item_column_only
    Family: collaborative
    """

    @staticmethod
    def n_parameters(
        schema: Schema, *, dim: int, geometry: str = "euclidean", learn_curvature: bool = False, **_: Any
    ) -> int:
        """Parameters that gradients train, without building the model."""
        return 1 + user_item_rows(schema) * (1 + dim) + n_curvatures(geometry, learn_curvature)

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        init_std: InitStd = 0.01,
        batch_l2: BatchL2 = 0.0,
        geometry: Space = "euclidean",
        curvature: Curvature = 1.0,
        learn_curvature: LearnCurvature = False,
    ) -> None:
        """Raises FmlabError on data without users and items, and for a curvature of flat space."""
        super().__init__()
        self.batch_l2 = batch_l2
        self.bias = nn.Parameter(torch.zeros(()))
        self.geometry = Geometry(geometry, curvature, learn_curvature)
        make = partial(self.geometry.weights_and_vectors, dim=dim, std=init_std)
        self.tables = UserItemEmbeddings(schema, make, model="mf")

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        (a, p), (b, q) = (self._parts(side) for side in self.tables(ids))
        return self.bias + a + b + self.geometry.inner(q, p)

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Global and user bias, user vector."""
        bias, vector = self._parts(self.tables.of_user(ids))
        return self.bias + bias, self.geometry.signed(vector)

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Item bias and vector."""
        return self._parts(self.tables.of_item(ids))

    def batch_regularization(self, batch: Batch) -> Tensor:
        """Of vectors, as they are stored, and biases."""
        return looked_up_norm(self.batch_l2, batch, self.tables.of_user, self.tables.of_item)

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z

    def _parts(self, row: Tensor) -> tuple[Tensor, Tensor]:
        bias, vector = torch.split(row, [1, row.shape[-1] - 1], -1)
        return bias.squeeze(-1), self.geometry.lift(vector)
