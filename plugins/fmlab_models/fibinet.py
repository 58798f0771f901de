"""Feature importance and bilinear interactions below a multilayer perceptron."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.nn.pair_products import rows_last, triangle
from fmlab.nn.sizes import pair_count, perceptron_size
from fmlab.plugin.option import Range, Renamed
from fmlab_models._deep import DeepModel, perceptron
from fmlab_models._options import BatchNorm, Dim, Dropout, Hidden, InitStd


class FiBiNET(DeepModel):
    """`w0 + sum w_i x_i + MLP([p; q])`: bilinear products of the fields' sums, and of these weighted by importance.

    Paper: Huang, Zhang, Zhang, FiBiNET: combining feature importance and bilinear feature interaction for click-through
      rate prediction, RecSys 2019.

    The equations are those of public implementations, with one of which scores are compared in
    tests/models/test_parity.py; `reduction_ratio` 3 and layers of 400 are theirs too.

    `p_ij = (s_i W) * s_j` for fields i < j, where W is one for "all", one for "each" field i, or one for each
    "interaction". `q` is the same of `a_i s_i`, `a = ReLU(W_2 ReLU(W_1 z))`, `z_i` the mean of `s_i`, whose hidden
    layer has a `reduction_ratio`-th of the fields.

    Cost: O(C dim + P dim^2 + W)
    Test: tests/models/test_deep_oracles.py::test_scores_and_gradients_are_those_of_the_equations
    Family: deep
    """

    space = {"bilinear": {"choice": ["all", "each", "interaction"]}}
    left: Tensor
    right: Tensor

    @staticmethod
    def n_parameters(
        schema: Schema,
        *,
        dim: int,
        bilinear: str,
        reduction_ratio: int,
        hidden: Sequence[int],
        batch_norm: bool,
        **_: Any,
    ) -> int:
        """Parameters that gradients train, without building the model."""
        fields, pairs = len(schema.fields), pair_count(len(schema.fields))
        bilinears = {"all": 1, "each": fields - 1}.get(bilinear, pairs)
        squeeze = 2 * fields * max(1, fields // reduction_ratio)
        return (
            1
            + schema.n_features * (1 + dim)
            + bilinears * dim**2
            + squeeze
            + perceptron_size(2 * pairs * dim, hidden, batch_norm)
        )

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        bilinear: Annotated[
            Literal["all", "each", "interaction"],
            "what has a bilinear matrix of its own: all fields, each field, each pair",
        ] = "interaction",
        reduction_ratio: Annotated[
            int, Range(1, None), "factor by which squeeze-and-excitation shrinks", Renamed("reduction")
        ] = 3,
        hidden: Hidden = (400, 400, 400),
        dropout: Dropout = 0.5,
        batch_norm: BatchNorm = False,
        init_std: InitStd = 0.01,
    ) -> None:
        """Weights start at 0, vectors at N(0, init_std), all else as torch initializes layers."""
        super().__init__(schema, dim, init_std=init_std, linear=True)
        for name, columns in zip(("left", "right"), triangle(self.n_fields), strict=True):
            self.register_buffer(name, columns, persistent=False)
        self.bilinear = bilinear
        matrices = {"all": 1, "each": self.n_fields - 1, "interaction": len(self.left)}[bilinear]
        self.matrices = nn.Parameter(torch.randn(matrices, dim, dim) / dim**0.5)
        narrow = max(1, self.n_fields // reduction_ratio)
        squeeze, excite = nn.Linear(self.n_fields, narrow, bias=False), nn.Linear(narrow, self.n_fields, bias=False)
        self.importance = nn.Sequential(squeeze, nn.ReLU(), excite, nn.ReLU())
        self.perceptron = perceptron(2 * len(self.left) * dim, hidden, dropout, batch_norm)

    def _score(self, linear: Tensor, first: Tensor, *parts: Tensor) -> Tensor:
        fields = self._fields(parts[0])
        weight = self.importance(fields.mean(-1)).unsqueeze(-1)
        plain, weighted = (self._products(rows_last(x)) for x in (fields, fields * weight))
        products = torch.cat([plain, weighted]).flatten(0, 1)  # [2 * pairs * dim, n]
        return linear + self.perceptron(products.t()).view(linear.shape)

    def _products(self, x: Tensor) -> Tensor:
        """`[fields, dim, n]` -> `[pairs, dim, n]`."""
        turned = self.matrices.transpose(1, 2)
        if self.bilinear == "interaction":
            return (turned @ x[self.left]) * x[self.right]
        return (turned @ x[:-1])[self.left] * x[self.right]
