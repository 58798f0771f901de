"""Probabilistic matrix factorization."""

from typing import Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.nn.features import UserItemEmbeddings
from fmlab.nn.sizes import user_item_rows
from fmlab_models._options import Dim, PositiveInitStd


class PMF(nn.Module):
    """The inner product of user and item vectors, without biases; it reads ids only.

    `<p_u, q_i>`

    Paper: Salakhutdinov, Mnih, Probabilistic matrix factorization, NIPS 2007, equations 1 and 4.

    The Gaussian priors on the vectors are the optimizer's `weight_decay`. Ratings are centered and scaled by the loss:
    the logistic function that the paper puts around the product, with ratings scaled to [0, 1], is what the loss `bce`
    does.

    Cost: O(dim)
    Test: tests/models/test_ncf.py::test_gmf_with_weights_of_1_is_pmf_and_matrix_factorization_without_biases
    Family: collaborative
    """

    defaults = {"loss": "squared", "optimizer": "adam"}

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return user_item_rows(schema) * dim

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        init_std: PositiveInitStd = 0.1,
    ) -> None:
        """Vectors start at N(0, init_std). Raises FmlabError on data without users and items."""
        super().__init__()
        name = type(self).__name__.lower()
        self.tables = UserItemEmbeddings(schema, lambda rows: init_std * torch.randn(rows, dim), model=name)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        p, q = self.tables(ids)
        return (self._weighed(p) * q).sum(-1)

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bias 0 and the user's vector."""
        p = self._weighed(self.tables.of_user(ids))
        return torch.zeros_like(p[..., 0]), p

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bias 0 and the item's vector."""
        q = self.tables.of_item(ids)
        return torch.zeros_like(q[..., 0]), q

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z

    def _weighed(self, p: Tensor) -> Tensor:
        return p
