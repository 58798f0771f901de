"""The extreme deep factorization machine: compressed products of vectors beside a multilayer perceptron."""

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.nn.crossing import rows_last
from fmlab.options import Range
from fmlab_models._deep import DeepModel


class XDeepFM(DeepModel):
    """`w0 + sum w_i x_i + <w, [p_1; ...; p_L]> + MLP([s_1; ...; s_F])`, p the pooled maps of a compressed network.

    Paper: Lian, Zhou, Zhang, Chen, Xie, Sun, xDeepFM: combining explicit and implicit feature interactions for
      recommender systems, KDD 2018, equations 6 to 9.

    With `X^0` the fields' sums, map h of layer l is `X^l_h = sum_{i,j} W^l_hij X^{l-1}_i * X^0_j + b^l_h`, and
    `p_l` holds the sums of its coordinates. All maps go to the next layer and to the output; no activation is the
    paper's choice (section 4.4), and ReLU that of some later code.

    Parameters: 1 + n (1 + dim) + mlp(F dim, hidden) + F matrices(F, maps) + 2 sum(maps)
    Cost: O(C dim + F dim matrices(F, maps) + W)
    Test: tests/models/test_deep_oracles.py::test_scores_and_gradients_are_those_of_the_equations
    Family: deep
    """

    space = {"maps": {"choice": [[50, 50], [100, 100], [200, 200]]}}

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Annotated[int, Range(1, None)] = 10,
        maps: tuple[int, ...] = (100, 100),
        activation: Literal["identity", "relu"] = "identity",
        hidden: tuple[int, ...] = (400, 400),
        dropout: Annotated[float, Range(0, 1, open_high=True)] = 0.5,
        init_std: Annotated[float, Range(0, None)] = 0.01,
    ) -> None:
        """`maps` of each layer. Weights start at 0, vectors at N(0, init_std), layers as torch initialises them."""
        super().__init__(schema, dim, init_std=init_std, linear=True, hidden=hidden, dropout=dropout)
        before = (self.n_fields, *maps)
        self.compress = nn.ModuleList(nn.Linear(a * self.n_fields, b) for a, b in zip(before, maps, strict=False))
        self.activation = nn.ReLU() if activation == "relu" else nn.Identity()
        self.top = nn.Linear(sum(maps), 1, bias=False)

    def _score(self, linear: Tensor, first: Tensor, *parts: Tensor) -> Tensor:
        start = rows_last(self._fields(parts[0])).flatten(1)  # [fields, dim * n]
        x, pooled = start, []
        for layer in self.compress:
            assert isinstance(layer, nn.Linear)
            products = (x.unsqueeze(1) * start).flatten(0, 1)
            x = self.activation(torch.addmm(layer.bias.unsqueeze(1), layer.weight, products))
            pooled.append(x.view(len(x), self.dim, -1).sum(1))
        maps = (self.top.weight @ torch.cat(pooled)).view(linear.shape) if pooled else 0.0
        return linear + maps + self.rest(first).squeeze(-1)
