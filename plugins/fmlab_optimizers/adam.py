"""Adam, exactly, on row-sparse gradients too."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adam import adam as fused_adam

from fmlab.manifolds import Euclidean, manifold_of
from fmlab.plugin.option import Range
from fmlab_optimizers._rows import RowGradient, evaluate, touched


class Adam(Optimizer):
    """Adam with L2 regularization added to the gradient: exactly the dense algorithm, whatever the gradients' layout.

    Every row of a table moves at every step, looked up or not, by its decaying moments and the weight decay. Sparse
    gradients are laid out in one dense buffer a table, kept between steps, of which only the touched rows are
    written and cleared again. `lazy_adam` moves touched rows only.

    `embedding_decay` is the weight decay of tables, the parameters whose gradients are row-sparse: click-through
    models are regularized there (`embedding_regularizer` of FuxiCTR), and by dropout elsewhere.

    Paper: Kingma, Ba, Adam: a method for stochastic optimization, ICLR 2015.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: Annotated[float, Range(0, None, open_low=True), "step size"] = 1e-3,
        weight_decay: Annotated[float, Range(0, None), "L2 penalty on all parameters"] = 0.0,
        embedding_decay: Annotated[
            Annotated[float, Range(0, None)] | None, "L2 penalty on embedding tables; null is weight_decay"
        ] = None,
        beta1: Annotated[float, Range(0, 1, open_high=True), "decay of the mean of gradients"] = 0.9,
        beta2: Annotated[float, Range(0, 1, open_high=True), "decay of the mean of squared gradients"] = 0.999,
        eps: Annotated[float, Range(0, None), "number added to the denominator"] = 1e-8,
    ) -> None:
        """Options are the defaults of parameter groups; `embedding_decay` is `weight_decay` where it is null."""
        decay = {"weight_decay": weight_decay, "embedding_decay": embedding_decay}
        options = {"lr": lr, **decay, "beta1": beta1, "beta2": beta2, "eps": eps}
        # "fused" is read by torch: loaded step counts go to the device of their parameter.
        super().__init__(parameters, {**options, "fused": True})
        self._buffers: dict[nn.Parameter, Tensor] = {}  # all zeros between steps; no part of the state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """For copies and pickles, which carry the state only."""
        super().__setstate__(state)
        self.__dict__.setdefault("_buffers", {})
        for group in self.param_groups:
            group.setdefault("embedding_decay", None)  # in checkpoints from before there was one

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update; gives the loss of `closure`. Raises FmlabError if a gradient is not finite."""
        loss = evaluate(closure)
        found = touched(self.param_groups)
        for group in self.param_groups:
            mine, decay = [t for t in found if t.group is group], group["weight_decay"]
            if group["embedding_decay"] in (None, decay):
                self._update(group, mine, decay)
            else:
                self._update(group, [t for t in mine if t.rows is None], decay)
                self._update(group, [t for t in mine if t.rows is not None], group["embedding_decay"])
        return loss

    def _update(self, group: dict[str, Any], found: list[RowGradient], decay: float) -> None:
        states = [self._state(t.parameter) for t in found]
        fused_adam(
            [t.parameter for t in found],
            [self._dense(t) for t in found],
            [s["exp_avg"] for s in states],
            [s["exp_avg_sq"] for s in states],
            [],
            [s["step"] for s in states],
            fused=True,
            amsgrad=False,
            beta1=group["beta1"],
            beta2=group["beta2"],
            lr=group["lr"],
            weight_decay=decay,
            eps=group["eps"],
            maximize=False,
        )
        for _, p, rows, _ in found:
            if rows is not None:
                self._buffers[p].index_fill_(0, rows, 0.0)
            manifold = manifold_of(p)
            if not isinstance(manifold, Euclidean):
                p.copy_(manifold.project(p))

    def _state(self, p: nn.Parameter) -> dict[str, Tensor]:
        state = self.state[p]
        if not state:
            state.update(
                step=torch.zeros((), device=p.device), exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p)
            )
        return state

    def _dense(self, t: RowGradient) -> Tensor:
        if t.rows is None:
            return t.grad
        buffer = self._buffers.get(t.parameter)
        if buffer is None or buffer.device != t.parameter.device:
            buffer = self._buffers[t.parameter] = torch.zeros_like(t.parameter)
        return buffer.index_copy_(0, t.rows, t.grad)
