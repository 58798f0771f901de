"""Gates on fields."""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.optim import Adam

from fmlab.contracts import SearchSpace
from fmlab.errors import FmlabError
from fmlab.plugin.option import Range
from fmlab_searches._gates import Epochs, Rate, fields_of


class AutoField(nn.Module):
    """Rows of field n are seen times a gate `p_n`, a Gumbel-softmax draw of "kept" beside "dropped".

    Logits follow a part of the training rows that the weights are not trained on, at the same steps; the temperature of
    a draw is `max(0.01, 1 - 0.00005 step)`. The fields of the highest logits stay and are trained anew from where they
    started, without the others.

    Paper: Wang, Zhao, Xu, Wu, AutoField: automating feature selection in deep recommender systems, WWW 2022; details of
      the code of its authors' group (Applied-Machine-Learning-Lab/ERASE). Its logits follow validation rows; here those
      only select the epoch.
    """

    t: Tensor

    def __init__(
        self,
        space: SearchSpace,
        *,
        fields: Annotated[int, Range(1, None), "fields to keep"],
        held_out: Annotated[
            float, Range(0, 0.9, open_low=True), "share of the training rows that the gates are trained on"
        ] = 0.1,
        epochs: Epochs = 5,
        lr: Rate = 0.02,
    ) -> None:
        """`space`: the tables. Raises FmlabError for more fields than there are."""
        super().__init__()
        n = len(space.schema.fields)
        if fields > n:
            raise FmlabError(f"search.fields must be at most the number of fields of the data, {n}, got {fields}")
        self.n, self.held_out, self.epochs, self.lr = fields, held_out, epochs, lr
        self.fields = [fields_of(space, table) for table in space.tables]
        self.logits = nn.Parameter(torch.zeros(n))  # of "kept" less that of "dropped"
        self.register_buffer("t", torch.ones(()))
        self.register_buffer("drawn", torch.zeros(n))
        self.drawn: Tensor

    def begin_step(self, step: int) -> None:
        """The temperature of the step, and the noise of its draw: the difference of two Gumbel numbers is logistic."""
        self.t.fill_(max(0.01, 1 - 0.00005 * step))
        self.drawn.copy_(torch.logit(torch.rand(len(self.drawn)), eps=1e-6))

    def rows(self, table: int, rows: Tensor, at: Tensor) -> Tensor:
        """Rows times the gates of their fields."""
        gates = ((self.logits + self.drawn) / self.t).sigmoid()
        return rows * gates[self.fields[table].to(at.device)[at]].unsqueeze(-1).to(rows.dtype)

    def optimizer(self) -> Adam:
        """Adam over the logits."""
        return Adam(self.parameters(), lr=self.lr)

    def kept(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Rows of the fields that stay."""
        logits = self.logits.detach().cpu()
        stays = torch.zeros(len(logits), dtype=torch.bool)
        stays[logits.topk(self.n).indices] = True
        return [stays[field].unsqueeze(-1) for field in self.fields]
