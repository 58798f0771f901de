"""Stochastic gradient descent."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
from torch import nn
from torch.optim import Optimizer

from fmlab.plugin.option import Range
from fmlab_optimizers._rows import evaluate, project, read, touched, write


class SGD(Optimizer):
    """Stochastic gradient descent, row-sparse on embedding tables.

    `x <- x - lr (g + weight_decay x)`. Of a table, only rows looked up in the batch move: without weight decay that
    is the same as dense descent; with it, a row is regularized as often as it is looked up in a batch, not at every
    step. There is no momentum, since with it untouched rows would have to move.

    Source: Robbins, Monro, A stochastic approximation method, Annals of Mathematical Statistics 1951.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: Annotated[float, Range(0, None, open_low=True), "step size"] = 0.01,
        weight_decay: Annotated[float, Range(0, None), "L2 penalty on all parameters"] = 0.0,
    ) -> None:
        """Options are the defaults of parameter groups."""
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update; gives the loss of `closure`. Raises FmlabError if a gradient is not finite."""
        loss = evaluate(closure)
        for group, p, rows, grad in touched(self.param_groups):
            x = read(p, rows)
            if group["weight_decay"]:
                grad = grad.add(x, alpha=group["weight_decay"])
            write(p, rows, project(p, x.add_(grad, alpha=-group["lr"])))
        return loss
