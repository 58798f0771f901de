"""An optimizer of torch with a schedule: what a program of one's own would write, as two plugins."""

from collections.abc import Iterable
from math import cos, pi
from typing import Annotated

import torch
from torch import nn

from fmlab.api import Range


def decoupled(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Annotated[float, Range(0, None, open_low=True), "step size"] = 0.01,
    weight_decay: Annotated[float, Range(0, None), "share of the rate by which weights shrink"] = 0.01,
) -> torch.optim.Optimizer:
    """AdamW as it stands in torch; fmlab makes row-sparse gradients dense for it.

    Paper: Loshchilov, Hutter, Decoupled weight decay regularization, ICLR 2019.
    """
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)


class HalfCosine:
    """From the learning rate down to 0 over the whole run, as half a cosine.

    Paper: Loshchilov, Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017, equation 5.
    """

    depends_on_end = True

    def __init__(self, steps: int, epoch_steps: int) -> None:
        """`steps`: of the whole run."""
        self.steps = steps

    def rate(self, base: float, step: int) -> float:
        """The learning rate at a step, where `base` is the option `lr` of the optimizer."""
        return base * (1 + cos(pi * step / self.steps)) / 2
