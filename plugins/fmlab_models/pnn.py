"""Product-based neural networks: inner (IPNN) or outer (OPNN) products below a multilayer perceptron."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.nn.pair_products import inner_products, triangle
from fmlab.nn.sizes import pair_count, perceptron_size
from fmlab_models._deep import DeepModel
from fmlab_models._options import BatchNorm, Dim, Dropout, Hidden, InitStd


class PNN(DeepModel):
    """`MLP([s; p])`, s the fields' sums and p the products that a subclass makes of them."""

    def __init__(
        self,
        schema: Schema,
        dim: int,
        products: int,
        *,
        hidden: Hidden,
        dropout: Annotated[float, "share of activations that are set to 0 in training"],
        batch_norm: BatchNorm,
        init_std: Annotated[float, "standard deviation of initial embeddings"],
    ) -> None:
        """`products`: how many."""
        super().__init__(
            schema, dim, init_std=init_std, linear=False, hidden=hidden, dropout=dropout, batch_norm=batch_norm
        )
        self.products = nn.Linear(products, len(self.first.weight), bias=False)

    def _score(self, linear: Tensor, first: Tensor, *parts: Tensor) -> Tensor:
        return self.rest(first + self.products(self._products(self._fields(parts[0])))).squeeze(-1)

    def _products(self, fields: Tensor) -> Tensor:
        raise NotImplementedError


class IPNN(PNN):
    """`MLP([s_1; ...; s_F; p])` with the inner products `p_ij = <s_i, s_j>` of the sums of the fields i < j.

    Paper: Qu, Cai, Ren, Zhang, Yu, Wen, Wang, Product-based neural networks for user response prediction, ICDM 2016,
      equations 3 to 9, whose weights of products are factorized; here they are free.

    Cost: O(C dim + P dim + W)
    Test: tests/models/test_deep_oracles.py::test_scores_and_gradients_are_those_of_the_equations
    Family: deep
    """

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, hidden: Sequence[int], batch_norm: bool, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        width = len(schema.fields) * dim + pair_count(len(schema.fields))
        return schema.n_features * dim + perceptron_size(width, hidden, batch_norm)

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
        """Vectors start at N(0, init_std), layers as torch initializes them."""
        n = len(schema.fields)
        super().__init__(
            schema, dim, n * (n - 1) // 2, hidden=hidden, dropout=dropout, batch_norm=batch_norm, init_std=init_std
        )

    def _products(self, fields: Tensor) -> Tensor:
        return inner_products(fields)


class OPNN(PNN):
    """`MLP([s_1; ...; s_F; p])` with outer products p of the fields' sums.

    Paper: Qu, Cai, Ren, Zhang, Yu, Wen, Wang, Product-based neural networks for user response prediction, ICDM 2016,
      equations 10 to 13 ("sum"); Qu et al., Product-based neural networks for user response prediction over
      multi-field categorical data, ACM TOIS 2018 ("matrix").

    "sum": the outer products of all fields superposed, `p = f f^T` with `f = sum s_i`, its `dim^2` numbers. "matrix":
    each reduced by a kernel of its own, `p_ij = s_i W_ij s_j^T` for fields i < j.

    Cost: O(C dim + dim^2 + W), with kernel=matrix O(C dim + P dim^2 + W)
    Test: tests/models/test_deep_oracles.py::test_scores_and_gradients_are_those_of_the_equations
    Family: deep
    """

    space = {"kernel": {"choice": ["sum", "matrix"]}}
    left: Tensor
    right: Tensor

    @staticmethod
    def n_parameters(
        schema: Schema, *, dim: int, kernel: str, hidden: Sequence[int], batch_norm: bool, **_: Any
    ) -> int:
        """Parameters that gradients train, without building the model."""
        fields, pairs = len(schema.fields), pair_count(len(schema.fields))
        kernels, products = (pairs * dim**2, pairs) if kernel == "matrix" else (0, dim**2)
        return schema.n_features * dim + kernels + perceptron_size(fields * dim + products, hidden, batch_norm)

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        kernel: Annotated[Literal["sum", "matrix"], "how outer products are weighed"] = "sum",
        hidden: Hidden = (400, 400, 400),
        dropout: Dropout = 0.5,
        batch_norm: BatchNorm = False,
        init_std: InitStd = 0.01,
    ) -> None:
        """Vectors start at N(0, init_std), kernels at N(0, 1 / dim), layers as torch initializes them."""
        left, right = triangle(len(schema.fields))
        products = dim * dim if kernel == "sum" else len(left)
        super().__init__(
            schema, dim, products, hidden=hidden, dropout=dropout, batch_norm=batch_norm, init_std=init_std
        )
        self.register_buffer("left", left, persistent=False)
        self.register_buffer("right", right, persistent=False)
        self.kernels = nn.Parameter(torch.randn(len(left), dim, dim) / dim**0.5) if kernel == "matrix" else None

    def _products(self, fields: Tensor) -> Tensor:
        if self.kernels is None:
            total = fields.sum(-2)
            return (total.unsqueeze(-1) * total.unsqueeze(-2)).flatten(-2)
        x = fields.reshape(-1, *fields.shape[-2:]).transpose(0, 1)  # [fields, n, dim]
        products = ((x[self.left] @ self.kernels) * x[self.right]).sum(-1)
        return products.t().reshape(*fields.shape[:-2], -1)
