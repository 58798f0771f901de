"""Thresholds on the numbers of embedding tables."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam

from fmlab.contracts import SearchSpace
from fmlab.plugin.option import Range
from fmlab_searches._gates import Epochs, Rate, fields_of

Granularity = Literal["global", "dimension", "field", "feature", "field_dimension", "feature_dimension"]


class PEP(nn.Module):
    """The model sees `sign(v) max(0, |v| - sigmoid(s))` of each number v of its tables; thresholds s are trained too.

    The search is over after the first step at which no more than `budget` of the numbers are left, or after `epochs`;
    in that case the numbers that are furthest above their thresholds stay, as many as the budget has. They are then
    trained anew from where they started.

    Paper: Liu, Gao, Chen, Jin, Li, Learnable embedding sizes for recommender systems, ICLR 2021; details
      of the authors' code (ssui-liu/learnable-embed-sizes-for-RecSys).

    A number that is exactly 0, as first-order weights are at the start, has the gradient of the identity: a threshold
    would hold it there. Thresholds have a learning rate of their own, so that they move in few epochs. The authors'
    code has a decay of them too, which under Adam raises those of rarely read rows.
    """

    held_out = 0.0

    def __init__(
        self,
        space: SearchSpace,
        *,
        budget: Annotated[float, Range(0, 1, open_low=True, open_high=True), "share of the tables' numbers to keep"],
        granularity: Annotated[Granularity, "what has a threshold of its own, in each table"] = "feature_dimension",
        start: Annotated[float, "s at the start: numbers below sigmoid(s) are dropped at once"] = -15.0,
        epochs: Epochs = 20,
        lr: Rate = 0.02,
        decay: Annotated[float, Range(0, None), "L2 penalty on s, which draws thresholds towards 1/2"] = 0.0,
    ) -> None:
        """`space`: the tables."""
        super().__init__()
        self.epochs, self.lr, self.decay = epochs, lr, decay
        self.limit = math.floor(budget * sum(table.start.numel() for table in space.tables))
        by_field, by_dimension = granularity.startswith("field"), granularity.endswith("dimension")
        self.by_row = by_field or granularity.startswith("feature")
        self.fields = [fields_of(space, t) if by_field else None for t in space.tables]
        self.thresholds = nn.ParameterList()
        for table in space.tables:
            rows = len(space.schema.fields) if by_field else len(table.start) if self.by_row else 1
            columns = table.start.shape[1] if by_dimension else 1
            self.thresholds.append(nn.Parameter(torch.full((rows, columns), start)))

    def rows(self, table: int, rows: Tensor, at: Tensor) -> Tensor:
        """Rows through the soft threshold."""
        soft = rows.sign() * (rows.abs() - self._threshold(table, at)).relu()
        return torch.where(rows == 0, rows, soft)

    def optimizer(self) -> Adam:
        """Adam over the thresholds."""
        return Adam(self.parameters(), lr=self.lr, weight_decay=self.decay)

    def finished(self, weights: Sequence[Tensor]) -> bool:
        """Whether the budget is met."""
        return sum(int((margin > 0).sum()) for margin in self._margins(weights)) <= self.limit

    def kept(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Numbers above their thresholds, no more than the budget has."""
        margins = self._margins(weights)
        above = torch.cat([margin.flatten() for margin in margins])
        least = torch.zeros(()) if (above > 0).sum() <= self.limit else above.topk(self.limit + 1).values[-1]
        return [margin > least.to(margin).clamp_min(0) for margin in margins]

    def _threshold(self, table: int, at: Tensor) -> Tensor:
        s, fields = self.thresholds[table], self.fields[table]
        if not self.by_row:
            return s.sigmoid()
        return s[at if fields is None else fields.to(at.device)[at]].sigmoid()

    def _margins(self, weights: Sequence[Tensor]) -> list[Tensor]:
        every = (torch.arange(len(weight), device=weight.device) for weight in weights)
        return [w.abs() - self._threshold(n, at) for n, (w, at) in enumerate(zip(weights, every, strict=True))]
