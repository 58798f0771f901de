"""Riemannian stochastic gradient descent."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
from torch import nn
from torch.optim import Optimizer

from fmlab.manifolds import manifold_of
from fmlab.plugin.option import Range
from fmlab_optimizers._descent import ExponentialMap, MaxStep, descend, rename_options
from fmlab_optimizers._rows import evaluate, read, touched, write


class RSGD(Optimizer):
    """Riemannian stochastic gradient descent, row-sparse on embedding tables; in flat space SGD.

    `x <- exp_x(-lr grad f(x))` on the hyperboloid (LorentzFM, equations 11 and 12), the straight step clipped into
    the ball on the Poincaré ball (HyperML, equation 14), where `exponential_map` asks for that map. Points without
    gradient do not move, so steps over touched rows are exactly dense ones.

    The step of a point is at most `max_step` long, in the metric of its manifold. The papers have no such bound, but
    a feature that stands in every row sums its gradient over the batch, and at the papers' learning rates leaps to
    where it hardly gets a gradient any more. `max_step=40` leaves all steps alone that float32 can hold.

    `burn_in` epochs at the start use `burn_in_factor` times the learning rate (Nickel, Kiela, Poincaré embeddings,
    NeurIPS 2017; "burn-in period" in LorentzFM).

    Paper: Bonnabel, Stochastic gradient descent on Riemannian manifolds, IEEE Transactions on Automatic Control 2013.
    """

    riemannian = True

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: Annotated[float, Range(0, None, open_low=True), "step size"] = 3.0,
        exponential_map: ExponentialMap = False,
        max_step: MaxStep = 0.03,
        burn_in: Annotated[int, Range(0, None), "epochs with a smaller step size at the start"] = 0,
        burn_in_factor: Annotated[float, Range(0, 1, open_low=True), "factor on the step size in the burn-in"] = 0.1,
    ) -> None:
        """`burn_in` counts epochs. Options are the defaults of parameter groups."""
        geometry = {"exponential_map": exponential_map, "max_step": max_step}
        super().__init__(parameters, {"lr": lr, **geometry, "burn_in": burn_in, "burn_in_factor": burn_in_factor})
        self.start_epoch(0)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Checkpoints of earlier releases are read too."""
        super().__setstate__(state)
        rename_options(self.param_groups)

    def start_epoch(self, epoch: int) -> None:
        """Slow down if this is one of the first `burn_in` epochs, counted from 0."""
        for group in self.param_groups:
            group["pace"] = group["burn_in_factor"] if epoch < group["burn_in"] else 1.0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update; gives the loss of `closure`. Raises FmlabError if a gradient is not finite."""
        loss = evaluate(closure)
        for group, p, rows, grad in touched(self.param_groups):
            geometry = {key: group[key] for key in ("exponential_map", "max_step")}
            write(p, rows, descend(manifold_of(p), read(p, rows), grad, group["lr"] * group["pace"], **geometry))
        return loss
