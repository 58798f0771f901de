"""Deep Interest Network: a history that is weighted by the item it is asked about."""

from typing import Annotated

import torch
from torch import Tensor, nn

from fmlab.api import FmlabError, History, Range, Schema


class DIN(nn.Module):
    """Interest in an item, from the items of the history that resemble it.

    Paper: Zhou et al., Deep Interest Network for Click-Through Rate Prediction, KDD 2018

    An item has the sum of the vectors of its features, x; h_j is that of the j-th item of the history. The local
    activation unit gives a_j = MLP([h_j, x, h_j - x, h_j * x]), and the interest is v = sum_j a_j h_j, without a
    softmax as in the paper; what is no item has the weight 0. The score is MLP([q, v, x]), q the sum of the vectors of
    the query. PReLU stands for Dice, whose statistics of a batch would make a score depend on other rows.
    """

    defaults = {"loss": "bce", "optimizer": "adam"}

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Annotated[int, Range(1, None)] = 16,
        hidden_units: tuple[int, ...] = (64, 32),
        attention_units: tuple[int, ...] = (32,),
        history_length: Annotated[int, Range(1, None)] = 20,
        init_std: Annotated[float, Range(0, None, open_low=True)] = 0.05,
    ) -> None:
        """Raises FmlabError on data without items."""
        super().__init__()
        if not schema.has_items:
            raise FmlabError("din reads the items that a user had, got data without items")
        self.history_length, self.first_item = history_length, schema.item.start
        self.vectors = nn.Embedding(schema.n_features, dim)
        nn.init.normal_(self.vectors.weight, std=init_std)
        self.attention = _mlp(4 * dim, attention_units)
        self.score = _mlp(3 * dim, hidden_units)

    def forward(self, ids: Tensor, values: Tensor | None = None, *, history: History) -> Tensor:
        """`ids[*batch, columns]`, and histories whose leading axes broadcast against `*batch` -> scores `[*batch]`."""
        at = self.first_item
        x, y = (None, None) if values is None else (values[..., :at], values[..., at:])
        query, item = self._sum(ids[..., :at], x), self._sum(ids[..., at:], y)
        interest = self.interest(self._sum(history.ids, history.values), history.mask, item)
        return self.score(torch.cat([query, interest, item], -1)).squeeze(-1)

    def interest(self, past: Tensor, mask: Tensor, item: Tensor) -> Tensor:
        """`past[*batch, L, dim]`, `mask[*batch, L]`, `item[*batch, dim]` -> `[*batch, dim]`."""
        wide = item.unsqueeze(-2)
        past, wide = torch.broadcast_tensors(past, wide)
        weight = self.attention(torch.cat([past, wide, past - wide, past * wide], -1))
        return (weight * mask.unsqueeze(-1) * past).sum(-2)

    def _sum(self, ids: Tensor, values: Tensor | None) -> Tensor:
        rows = self.vectors(ids)
        return rows.sum(-2) if values is None else (rows * values.unsqueeze(-1)).sum(-2)


def _mlp(width: int, units: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in units:
        layers += [nn.Linear(width, size), nn.PReLU()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, 1))
