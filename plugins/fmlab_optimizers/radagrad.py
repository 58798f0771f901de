"""Riemannian AdaGrad."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
from torch import nn
from torch.optim import Optimizer

from fmlab.manifolds import Euclidean, manifold_of, step_scale_of
from fmlab.plugin.option import Range, Renamed
from fmlab_optimizers._descent import ExponentialMap, MaxStep, descend, rename_options
from fmlab_optimizers._rows import evaluate, read, touched, write

TINY = 1e-150  # keeps the rate finite while no gradient has been seen


class RAdaGrad(Optimizer):
    """Riemannian AdaGrad, row-sparse on embedding tables: one rate for each point, falling with its own gradients.

    `s <- s + |g|^2`, `x <- exp_x(-lr g / sqrt(s))` with `g` the Riemannian gradient of a point and `|g|` its length in
    the metric there; `s` starts at `initial_accumulator`. `lr` is multiplied by the `step_scale` of a parameter that
    has one. On the Poincaré ball the step is the straight one of HyperML, equation 14, unless `exponential_map` asks
    for that map.

    A point whose gradients are small or few moves as under `rsgd` with the rate `lr / sqrt(initial_accumulator)`; one
    that stands in every row, whose gradients add up over the batch, is slowed down by them. No step is longer than
    `max_step`. A point without gradient stays, so updating only touched rows equals a dense step. Euclidean
    parameters get AdaGrad per coordinate; the bound of a step does not apply.

    Paper: Bécigneul, Ganea, Riemannian adaptive optimization methods, ICLR 2019, with a point's row for a factor of the
    product manifold.
    """

    riemannian = True

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: Annotated[float, Range(0, None, open_low=True), "step size"] = 0.2,
        initial_accumulator: Annotated[
            float, Range(0, None), "initial sum of squared gradients", Renamed("initial")
        ] = 0.001,
        exponential_map: ExponentialMap = False,
        max_step: MaxStep = 0.1,
    ) -> None:
        """Options are the defaults of parameter groups."""
        geometry = {"exponential_map": exponential_map, "max_step": max_step}
        super().__init__(parameters, {"lr": lr, "initial_accumulator": initial_accumulator, **geometry})

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Checkpoints of earlier releases are read too."""
        super().__setstate__(state)
        rename_options(self.param_groups)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update; gives the loss of `closure`. Raises FmlabError if a gradient is not finite."""
        loss = evaluate(closure)
        for group, p, rows, grad in touched(self.param_groups):
            manifold, state = manifold_of(p), self.state[p]
            flat = isinstance(manifold, Euclidean)
            if not state:
                state["norm"] = torch.full_like(p if flat else p[..., :1], group["initial_accumulator"] ** 0.5)
            x, norm = read(p, rows), read(state["norm"], rows)
            length = grad.double() if flat else manifold.gradient_norm(x, grad)
            # The root of the sum is kept: it stays finite in the dtype of the points, to which a loaded state is cast.
            total = length.square().add_(norm.double().square()).sqrt_()
            write(state["norm"], rows, norm.copy_(total))
            rate = group["lr"] * step_scale_of(p) / total.clamp_min_(TINY)
            if flat:
                x.sub_((rate * grad).to(x.dtype))
            else:
                geometry = {key: group[key] for key in ("exponential_map", "max_step")}
                x = descend(manifold, x, grad, rate, **geometry)
            write(p, rows, x)
        return loss
