"""Deep & cross networks, whose crosses have a vector (DCN) or a matrix (DCN-V2) a layer."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmlab.data import Schema
from fmlab.nn.sizes import perceptron_size
from fmlab.plugin.option import Range
from fmlab_models._deep import DeepModel, by_side, perceptron
from fmlab_models._options import BatchNorm, Dim, Dropout, Hidden, InitStd, Layers


class DCN(DeepModel):
    """`<w, x_L> + MLP(x_0)` of the crosses `x_{l+1} = x_0 <x_l, w_l> + b_l + x_l`, `x_0` the fields' sums.

    Paper: Wang, Fu, Fu, Wang, Deep & cross network for ad click predictions, ADKDD 2017, equations 3 and 6; layers of
      100 as in LorentzFM's comparison (AAAI 2020, table 3).

    `x_l = alpha_l x_0 + beta_l` with a number alpha and `beta_l = b_0 + ... + b_{l-1}`, the same for all rows. So all
    crosses take the numbers `<x_0, w_l>` and `<x_0, w>` alone,

        alpha_{l+1} = alpha_l (1 + <x_0, w_l>) + <beta_l, w_l>,    <w, x_L> = alpha_L <x_0, w> + <beta_L, w>,

    which are sums over the sides, as is the first layer of the perceptron: one product gives them all.

    Cost: O(C dim + layers F dim + W)
    Test: tests/models/test_deep_oracles.py::test_scores_and_gradients_are_those_of_the_equations
    Family: deep
    """

    space = {"layers": {"int": [1, 5]}}

    @staticmethod
    def n_parameters(
        schema: Schema, *, dim: int, layers: int, hidden: Sequence[int], batch_norm: bool, **_: Any
    ) -> int:
        """Parameters that gradients train, without building the model."""
        width = len(schema.fields) * dim
        deep = perceptron_size(width, hidden, batch_norm)
        return schema.n_features * dim + deep + (2 * layers + 1) * width

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        layers: Layers = 3,
        hidden: Hidden = (100, 100),
        dropout: Dropout = 0.5,
        batch_norm: BatchNorm = False,
        init_std: InitStd = 0.01,
    ) -> None:
        """`layers` of crosses. Vectors start at N(0, init_std), b at 0, all else as torch initializes layers."""
        super().__init__(
            schema, dim, init_std=init_std, linear=False, hidden=hidden, dropout=dropout, batch_norm=batch_norm
        )
        inputs = self.n_fields * dim
        self.crosses = nn.Linear(inputs, layers + 1, bias=False)  # the last is w
        self.shifts = nn.Parameter(torch.zeros(layers, inputs))

    def _encode(self, ids: Tensor, values: Tensor | None, fields: range) -> tuple[Tensor, ...]:
        return super()._encode(ids, values, fields)[:2]

    def _first_layer(self, sums: Tensor, fields: range) -> Tensor:
        weight = torch.cat([self.first.weight, self.crosses.weight])
        bias: Tensor | None = self.first.bias  # none before batch normalization
        if bias is not None:
            bias = functional.pad(bias, (0, len(self.crosses.weight)))
        return by_side(sums, weight, bias, fields, self.dim)

    def _score(self, linear: Tensor, first: Tensor, *parts: Tensor) -> Tensor:
        hidden, along = torch.split(first, [len(self.first.weight), len(self.crosses.weight)], -1)
        beta = functional.pad(self.shifts.cumsum(0), (0, 0, 1, 0))
        shifted = (beta * self.crosses.weight).sum(-1)
        alpha = torch.ones_like(along[..., 0])
        for x, b in zip(along.unbind(-1)[:-1], shifted[:-1], strict=True):
            alpha = alpha * (1 + x) + b
        return alpha * along[..., -1] + shifted[-1] + self.rest(hidden).squeeze(-1)


class DCNv2(DeepModel):
    """Crosses `x_{l+1} = x_0 * (W_l x_l + b_l) + x_l` of the fields' sums, beside or below a perceptron.

    Paper: Wang, Shivanna, Cheng, Jain, Lin, Hong, Chi, DCN V2: improved deep & cross network and practical lessons for
      web-scale learning to rank systems, WWW 2021, equations 1 to 3.

    With `rank`, `W_l = U_l V_l^T` of that rank, without the mixture of experts. "parallel": `<w, x_L> + MLP(x_0)`;
    "stacked": `MLP(x_L)`.

    Cost: O(C dim + layers F^2 dim^2 + W)
    Test: tests/models/test_deep_oracles.py::test_scores_and_gradients_are_those_of_the_equations
    Family: deep
    """

    space = {"layers": {"int": [1, 5]}, "structure": {"choice": ["parallel", "stacked"]}}

    @staticmethod
    def n_parameters(
        schema: Schema,
        *,
        dim: int,
        layers: int,
        rank: int | None,
        structure: str,
        hidden: Sequence[int],
        batch_norm: bool,
        **_: Any,
    ) -> int:
        """Parameters that gradients train, without building the model."""
        width = len(schema.fields) * dim
        crosses = layers * width * ((2 * rank if rank else width) + 1)
        top = 0 if structure == "stacked" else width
        return schema.n_features * dim + perceptron_size(width, hidden, batch_norm) + crosses + top

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        layers: Layers = 3,
        rank: Annotated[int | None, Range(1, None), "rank of the cross matrices; null is full rank"] = None,
        structure: Annotated[
            Literal["parallel", "stacked"], "whether the perceptron stands beside the cross network or after it"
        ] = "parallel",
        hidden: Hidden = (400, 400, 400),
        dropout: Dropout = 0.5,
        batch_norm: BatchNorm = False,
        init_std: InitStd = 0.01,
    ) -> None:
        """`layers` of crosses. Vectors start at N(0, init_std), all else as torch initializes layers."""
        beside = hidden if structure == "parallel" else None
        super().__init__(
            schema, dim, init_std=init_std, linear=False, hidden=beside, dropout=dropout, batch_norm=batch_norm
        )
        inputs = self.n_fields * dim
        self.crosses = nn.ModuleList(_matrix(inputs, rank) for _ in range(layers))
        self.top: nn.Module = nn.Linear(inputs, 1, bias=False)
        if beside is None:
            self.top = perceptron(inputs, hidden, dropout, batch_norm)

    def _score(self, linear: Tensor, first: Tensor, *parts: Tensor) -> Tensor:
        start = crossed = parts[0]
        for matrix in self.crosses:
            crossed = torch.addcmul(crossed, start, matrix(crossed).to(start.dtype))
        scores = self.top(crossed)
        return (scores + self.rest(first) if self.deep else scores).squeeze(-1)


def _matrix(inputs: int, rank: int | None) -> nn.Module:
    if rank is None:
        return nn.Linear(inputs, inputs)
    return nn.Sequential(nn.Linear(inputs, rank, bias=False), nn.Linear(rank, inputs))
