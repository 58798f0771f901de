"""The extreme deep factorization machine: compressed products of vectors beside a multilayer perceptron."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fmlab.data import Schema
from fmlab.errors import FmlabError
from fmlab.nn.pair_products import rows_last
from fmlab.nn.sizes import perceptron_size
from fmlab.plugin.option import Renamed
from fmlab_models._deep import DeepModel
from fmlab_models._options import BatchNorm, Dim, Dropout, Hidden, InitStd

_NUMBERS = 1 << 18  # of the products that are made at a time


class XDeepFM(DeepModel):
    """`w0 + sum w_i x_i + <w, [p_1; ...; p_L]> + MLP([s_1; ...; s_F])`, p the pooled maps of a compressed network.

    Paper: Lian, Zhou, Zhang, Chen, Xie, Sun, xDeepFM: combining explicit and implicit feature interactions for
      recommender systems, KDD 2018, equations 6 to 9.

    With `X^0` the fields' sums, map h of layer l is `X^l_h = sum_{i,j} W^l_hij X^{l-1}_i * X^0_j + b^l_h`, and
    `p_l` holds the sums of its coordinates. All maps go to the next layer and to the output; with `split_half` one half
    goes on and the other to the output (the last layer's all to the output), as in the authors' code and, by its
    parameter counts, in LorentzFM's comparison, with `cin_layer_sizes=[100,100,100,100]` and mostly without the linear
    part. No activation is the paper's choice (section 4.4), and ReLU that of some later code.

    Cost: O(C dim + F dim matrices(F, cin_layer_sizes) + W)
    Test: tests/models/test_deep_oracles.py::test_scores_and_gradients_are_those_of_the_equations
    Family: deep
    """

    space = {"cin_layer_sizes": {"choice": [[50, 50], [100, 100], [200, 200]]}}

    @staticmethod
    def n_parameters(
        schema: Schema,
        *,
        dim: int,
        cin_layer_sizes: Sequence[int],
        split_half: bool,
        hidden: Sequence[int],
        batch_norm: bool,
        **_: Any,
    ) -> int:
        """Parameters that gradients train, without building the model."""
        fields, sizes = len(schema.fields), list(cin_layer_sizes)
        onward = [m // 2 if split_half else m for m in sizes[:-1]]
        network = sum((a * fields + 1) * b for a, b in zip([fields, *onward], sizes, strict=False))
        pooled = sum(onward) + sum(sizes[-1:])
        return 1 + schema.n_features * (1 + dim) + perceptron_size(fields * dim, hidden, batch_norm) + network + pooled

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        cin_layer_sizes: Annotated[
            tuple[int, ...], "feature maps of each layer of the compressed interaction network", Renamed("maps")
        ] = (100, 100),
        split_half: Annotated[bool, "whether half of the maps go on to the next layer alone"] = False,
        activation: Annotated[Literal["identity", "relu"], "activation of the feature maps"] = "identity",
        hidden: Hidden = (400, 400),
        dropout: Dropout = 0.5,
        batch_norm: BatchNorm = False,
        init_std: InitStd = 0.01,
    ) -> None:
        """Weights start at 0, vectors at N(0, init_std), layers as torch initializes them.

        Raises FmlabError where an odd number of maps would be split.
        """
        maps = cin_layer_sizes
        if split_half and any(m % 2 for m in maps[:-1]):
            raise FmlabError(f"split_half needs an even number of maps below the last layer, got {list(maps)}")
        super().__init__(
            schema, dim, init_std=init_std, linear=True, hidden=hidden, dropout=dropout, batch_norm=batch_norm
        )
        self.onward = [m // 2 if split_half else m for m in maps[:-1]] + [0] * bool(maps)  # maps for the next layer
        self.pooled = [m // 2 if split_half else m for m in maps[:-1]] + [*maps[-1:]]  # the last ones, for the output
        before = (self.n_fields, *self.onward)
        self.compress = nn.ModuleList(nn.Linear(a * self.n_fields, b) for a, b in zip(before, maps, strict=False))
        self.activation = nn.ReLU() if activation == "relu" else nn.Identity()
        self.top = nn.Linear(sum(self.pooled), 1, bias=False)

    def _score(self, linear: Tensor, first: Tensor, *parts: Tensor) -> Tensor:
        start = rows_last(self._fields(parts[0])).flatten(1)  # [fields, dim * n]
        x, pooled = start, []
        for layer, onward, kept in zip(self.compress, self.onward, self.pooled, strict=True):
            assert isinstance(layer, nn.Linear)
            maps = self.activation(compress(x, start, layer.weight) + layer.bias.unsqueeze(1))
            pooled.append(maps[-kept:].view(kept, self.dim, -1).sum(1))
            x = maps[:onward]
        crossed = (self.top.weight @ torch.cat(pooled)).view(linear.shape) if pooled else 0.0
        return linear + crossed + self.rest(first).squeeze(-1)


def compress(x: Tensor, start: Tensor, weight: Tensor) -> Tensor:
    """`sum_ij w_hij x_i * s_j`: `x[m, n]`, `start[f, n]`, `weight[h, m f]` -> `[h, n]`."""
    if torch.compiler.is_exporting():  # the number of blocks depends on the rows
        return weight @ _products(x, start)
    return _Compress.apply(x, start, weight)  # type: ignore[no-untyped-call]


class _Compress(torch.autograd.Function):
    """Products of a few columns at a time, which stay in the cache; the backward pass makes them again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, start: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, start, weight)
        out = x.new_empty(len(weight), x.shape[1])
        for columns in _blocks(x, weight):
            out[:, columns] = weight @ _products(x[:, columns], start[:, columns])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, start, weight = ctx.saved_tensors
        of_x, of_start, of_weight = (torch.zeros_like(t) for t in (x, start, weight))
        for columns in _blocks(x, weight):
            part, left, right = grad[:, columns], x[:, columns], start[:, columns]
            of_weight.addmm_(part, _products(left, right).t())
            pushes = (weight.t() @ part).view(len(left), len(right), -1)
            of_x[:, columns] = (pushes * right).sum(1)
            of_start[:, columns] = (pushes * left.unsqueeze(1)).sum(0)
        return of_x, of_start, of_weight


def _blocks(x: Tensor, weight: Tensor) -> Iterator[slice]:
    width = max(64, _NUMBERS // max(1, weight.shape[1])) if x.device.type == "cpu" else x.shape[1]
    return (slice(start, start + width) for start in range(0, x.shape[1], max(1, width)))


def _products(x: Tensor, start: Tensor) -> Tensor:
    return (x.unsqueeze(1) * start).flatten(0, 1)
