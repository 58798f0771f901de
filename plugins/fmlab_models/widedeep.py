"""A linear model beside a multilayer perceptron."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fmlab.data import Schema
from fmlab.nn.sizes import perceptron_size
from fmlab_models._deep import DeepModel
from fmlab_models._options import BatchNorm, Dim, Dropout, Hidden, InitStd


class WideDeep(DeepModel):
    """`w0 + sum w_i x_i + MLP([s_1; ...; s_F])`, `s_f` the sum of `x v` over the slots of field f.

    Paper: Cheng et al., Wide & deep learning for recommender systems, DLRS 2016, equation 3.

    Crossed features are left out; the paper's perceptron has layers of 1024, 512 and 256. Here all of the model has one
    optimizer.

    Cost: O(C dim + W)
    Test: tests/models/test_deep_oracles.py::test_scores_and_gradients_are_those_of_the_equations
    Family: deep
    """

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, hidden: Sequence[int], batch_norm: bool, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return 1 + schema.n_features * (1 + dim) + perceptron_size(len(schema.fields) * dim, hidden, batch_norm)

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        hidden: Hidden = (400, 400, 400),
        dropout: Dropout = 0.5,
        batch_norm: BatchNorm = False,
        init_std: InitStd = 0.01,
    ) -> None:
        """Weights start at 0, vectors at N(0, init_std), layers as torch initializes them."""
        super().__init__(
            schema, dim, init_std=init_std, linear=True, hidden=hidden, dropout=dropout, batch_norm=batch_norm
        )

    def _encode(self, ids: Tensor, values: Tensor | None, fields: range) -> tuple[Tensor, ...]:
        return super()._encode(ids, values, fields)[:2]

    def _score(self, linear: Tensor, first: Tensor, *parts: Tensor) -> Tensor:
        return linear + self.rest(first).squeeze(-1)
