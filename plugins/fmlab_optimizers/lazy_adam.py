"""Adam on the touched rows only."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
from torch import nn
from torch.optim import Optimizer

from fmlab.plugin.option import Range
from fmlab_optimizers._rows import evaluate, project, read, touched, write


class LazyAdam(Optimizer):
    """Adam on the rows looked up in the batch only: another algorithm than `adam`, at a cost free of the table's size.

    Rows that are not looked up keep their value and their moments, where Adam lets the moments decay and goes on
    moving the row. Rare rows therefore take longer steps than under Adam. Steps are counted for the whole table, and
    weight decay falls on touched rows only. Dense parameters get Adam.

    Paper: Kingma, Ba, Adam: a method for stochastic optimization, ICLR 2015, without the decay of untouched rows.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: Annotated[float, Range(0, None, open_low=True), "step size"] = 1e-3,
        weight_decay: Annotated[float, Range(0, None), "L2 penalty on all parameters"] = 0.0,
        beta1: Annotated[float, Range(0, 1, open_high=True), "decay of the mean of gradients"] = 0.9,
        beta2: Annotated[float, Range(0, 1, open_high=True), "decay of the mean of squared gradients"] = 0.999,
        eps: Annotated[float, Range(0, None), "number added to the denominator"] = 1e-8,
    ) -> None:
        """Options are the defaults of parameter groups."""
        options = {"lr": lr, "weight_decay": weight_decay, "beta1": beta1, "beta2": beta2, "eps": eps}
        super().__init__(parameters, options)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update; gives the loss of `closure`. Raises FmlabError if a gradient is not finite."""
        loss = evaluate(closure)
        for group, p, rows, grad in touched(self.param_groups):
            state = self.state[p]
            if not state:
                state.update(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
            state["step"] += 1
            x, mean, square = (read(t, rows) for t in (p, state["exp_avg"], state["exp_avg_sq"]))
            if group["weight_decay"]:
                grad = grad.add(x, alpha=group["weight_decay"])
            mean.lerp_(grad, 1 - group["beta1"])
            square.mul_(group["beta2"]).addcmul_(grad, grad, value=1 - group["beta2"])
            write(state["exp_avg"], rows, mean)
            write(state["exp_avg_sq"], rows, square)
            unbiased = square.div(1 - group["beta2"] ** state["step"]).sqrt_().add_(group["eps"])
            x.addcdiv_(mean, unbiased, value=-group["lr"] / (1 - group["beta1"] ** state["step"]))
            write(p, rows, project(p, x))
        return loss
