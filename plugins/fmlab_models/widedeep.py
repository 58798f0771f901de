"""A linear model beside a multilayer perceptron."""

from collections.abc import Sequence
from typing import Annotated, Any

from torch import Tensor

from fmlab.data import Schema
from fmlab.nn.sizes import perceptron_size
from fmlab.plugin.option import Range
from fmlab_models._deep import DeepModel


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
        dim: Annotated[int, Range(1, None), "size of the embedding vectors"] = 10,
        hidden: Annotated[tuple[int, ...], "units of each hidden layer"] = (400, 400, 400),
        dropout: Annotated[
            float, Range(0, 1, open_high=True), "share of activations that are set to 0 in training"
        ] = 0.5,
        batch_norm: Annotated[bool, "whether layers normalize over the batch"] = False,
        init_std: Annotated[float, Range(0, None), "standard deviation of initial embeddings"] = 0.01,
    ) -> None:
        """Weights start at 0, vectors at N(0, init_std), layers as torch initialises them."""
        super().__init__(
            schema, dim, init_std=init_std, linear=True, hidden=hidden, dropout=dropout, batch_norm=batch_norm
        )

    def _encode(self, ids: Tensor, values: Tensor | None, fields: range) -> tuple[Tensor, ...]:
        return super()._encode(ids, values, fields)[:2]

    def _score(self, linear: Tensor, first: Tensor, *parts: Tensor) -> Tensor:
        return linear + self.rest(first).squeeze(-1)
