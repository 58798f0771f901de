"""Gates on features."""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.optim import Adam

from fmlab.contracts import SearchSpace
from fmlab.plugin.option import Range
from fmlab_searches._gates import Epochs, Rate


class OptFS(nn.Module):
    """Row i of the tables is seen times `sigmoid(t g_i) / sigmoid(g_0)`, with a penalty on the sum of the gates.

    The temperature t rises exponentially from 1 to `temperature` over the epochs, so that gates end near 0 or open;
    features with `g_i > 0` stay. They are then trained anew from where they started.

    Paper: Lyu, Tang, Liu, Tang, Chen, Liu, Liu, Optimizing feature set for click-through rate prediction, WWW 2023;
      details of the authors' code (fuyuanlyu/OptFS).

    The authors go back to the weights after the first epoch of the search; here it is to those before it.
    """

    held_out = 0.0
    t: Tensor

    def __init__(
        self,
        space: SearchSpace,
        *,
        penalty: Annotated[float, Range(0, None), "weight of the sum of the gates in the loss"] = 1e-6,
        start: Annotated[float, Range(0, None, open_low=True), "g at the start"] = 0.5,
        temperature: Annotated[float, Range(1, None), "t in the last epoch"] = 200.0,
        epochs: Epochs = 10,
        lr: Rate = 0.01,
    ) -> None:
        """`space`: the tables; rows of one feature in several of them have one gate."""
        super().__init__()
        self.epochs, self.lr, self.penalty, self.last, self.steps = epochs, lr, penalty, temperature, space.epoch_steps
        self.first = [table.first for table in space.tables]
        self.gates = nn.Parameter(torch.full((space.schema.n_features,), start))
        self.whole = float(torch.tensor(start).sigmoid())
        self.register_buffer("t", torch.ones(()))

    def begin_step(self, step: int) -> None:
        """The temperature of the step's epoch."""
        self.t.fill_(self.last ** (step // self.steps / max(1, self.epochs - 1)))

    def rows(self, table: int, rows: Tensor, at: Tensor) -> Tensor:
        """Rows times their gates."""
        gates = (self.t * self.gates[self.first[table] + at]).sigmoid() / self.whole
        return rows * gates.unsqueeze(-1).to(rows.dtype)

    def regularization(self) -> Tensor:
        """The sum of the gates."""
        return self.penalty * (self.t * self.gates).sigmoid().sum()

    def optimizer(self) -> Adam:
        """Adam over the gates."""
        return Adam(self.parameters(), lr=self.lr)

    def kept(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Rows of features whose gate is open."""
        rows = (slice(first, first + len(weight)) for first, weight in zip(self.first, weights, strict=True))
        return [(self.gates.detach()[part] > 0).unsqueeze(-1) for part in rows]
