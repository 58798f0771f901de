"""AdaGrad."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
from torch import nn
from torch.optim import Optimizer

from fmlab.plugin.option import Range
from fmlab_optimizers._rows import evaluate, project, read, touched, write


class AdaGrad(Optimizer):
    """AdaGrad, row-sparse on embedding tables.

    `s <- s + g^2`, `x <- x - lr g / (sqrt(s) + eps)` with `g` the gradient plus `weight_decay x`. A row without
    gradient does not move, so a step over the touched rows is exactly a dense one; weight decay falls on the rows
    looked up in the batch only.

    Paper: Duchi, Hazan, Singer, Adaptive subgradient methods for online learning and stochastic optimization,
    JMLR 2011.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: Annotated[float, Range(0, None, open_low=True), "step size"] = 0.01,
        weight_decay: Annotated[float, Range(0, None), "L2 penalty on all parameters"] = 0.0,
        eps: Annotated[float, Range(0, None), "number added to the denominator"] = 1e-10,
    ) -> None:
        """Options are the defaults of parameter groups."""
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update; gives the loss of `closure`. Raises FmlabError if a gradient is not finite."""
        loss = evaluate(closure)
        for group, p, rows, grad in touched(self.param_groups):
            state = self.state[p]
            if not state:
                state["sum"] = torch.zeros_like(p)
            x, s = read(p, rows), read(state["sum"], rows)
            if group["weight_decay"]:
                grad = grad.add(x, alpha=group["weight_decay"])
            s.addcmul_(grad, grad)
            x.addcdiv_(grad, s.sqrt().add_(group["eps"]), value=-group["lr"])
            write(state["sum"], rows, s)
            write(p, rows, project(p, x))
        return loss
