"""The multilayer perceptron of deep click-through models."""

from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


def split_mlp(
    inputs: int, hidden: tuple[int, ...], dropout: float, batch_norm: bool = False
) -> tuple[nn.Linear, nn.Sequential]:
    """`[*batch, inputs]` -> `[*batch, 1]`: the first linear layer, and all that follows it.

    Every hidden layer is linear, batch normalization if wanted, ReLU, dropout; the output is linear. They come apart
    because the first layer splits by side, `W [x_u; x_i] = W_u x_u + W_i x_i`, which is why a model computes it in its
    own way. A layer before batch normalization has no bias, which the normalization would take away again.
    """
    sizes = [inputs, *hidden, 1]
    linear = [nn.Linear(a, b, bias=n == len(hidden) or not batch_norm) for n, (a, b) in enumerate(pairwise(sizes))]
    rest: list[nn.Module] = []
    for width, layer in zip(hidden, linear[1:], strict=True):
        rest += [BatchNorm(width)] if batch_norm else []
        rest += [nn.ReLU(), nn.Dropout(dropout), layer]
    return linear[0], nn.Sequential(*rest)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalization of each number of `[*batch, width]` over all rows of a training step.

    Paper: Ioffe, Szegedy, Batch normalization: accelerating deep network training by reducing internal covariate
      shift, ICML 2015, algorithms 1 and 2.

    The rows are those of all processes together, so that several train as one does, and sums over them are float32 or
    wider. A step of a single row, which has
    no variance, is normalized as in evaluation, by the running mean and variance.
    """

    def forward(self, x: Tensor) -> Tensor:
        """`[*batch, width]` -> `[*batch, width]`."""
        rows = x.reshape(-1, x.shape[-1])
        if self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            return self._over_processes(rows).view(x.shape)
        if self.training and len(rows) == 1:
            return functional.batch_norm(
                rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            ).view(x.shape)
        return super().forward(rows).view(x.shape)

    def _over_processes(self, rows: Tensor) -> Tensor:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        kind, rows = rows.dtype, rows.to(torch.promote_types(rows.dtype, torch.float32))  # half precision overflows
        n = _total(rows.new_full((), len(rows)))
        mean = _total(rows.sum(0)) / n
        variance = _total((rows - mean).square().sum(0)) / n
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = variance * n / (n - 1).clamp(min=1)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        return ((rows - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias).to(kind)


class _Total(torch.autograd.Function):
    """The sum over processes. Each one's loss depends on it, so that its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone()
        dist.all_reduce(total)
        return total


def _total(x: Tensor) -> Tensor:
    return _Total.apply(x)  # type: ignore[no-untyped-call]
