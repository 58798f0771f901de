"""The optimizer of AutoFIS's gates."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


class GRDA(Optimizer):
    """Generalized regularized dual averaging: numbers become exactly 0, and may come back.

    With v the start less the sum of `lr g`, `w = sign(v) max(0, |v| - c lr^(1/2 + mu) t^mu)` after step t.

    Paper: Chao, Wang, Xing, Cheng, Directional pruning of deep neural networks, NeurIPS 2020; as
      the code of AutoFIS has it.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, c: float, mu: float) -> None:
        """`c`, `mu`: size and growth of the threshold."""
        super().__init__(parameters, {"lr": lr, "c": c, "mu": mu})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update."""
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                state = self.state[p]
                if not state:
                    state.update(step=torch.zeros(()), sum=p.detach().clone())
                state["step"] += 1
                state["sum"].sub_(p.grad, alpha=group["lr"])
                threshold = group["c"] * group["lr"] ** (0.5 + group["mu"]) * float(state["step"]) ** group["mu"]
                p.copy_(state["sum"].sign() * (state["sum"].abs() - threshold).relu())
