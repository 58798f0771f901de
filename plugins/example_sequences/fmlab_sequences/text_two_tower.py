"""Two towers: users by their ids, items by the vectors of their texts."""

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor, nn

from fmlab.api import FmlabError, Range, Schema


class TextTwoTower(nn.Module):
    """The product of a user's vector and a projection of the item's text vectors, which serves items without clicks.

    Source: written for this example, after Covington, Adams, Sargin, Deep Neural Networks for YouTube Recommendations,
        RecSys 2016.

    p is the sum of the vectors of the query's features; q = W2 relu(W1 t + c1) + c2, t the vectors of the item one
    after the other. Ids of items are not looked at.
    """

    defaults = {"loss": "bpr", "optimizer": "adam"}

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Annotated[int, Range(1, None)] = 16,
        hidden_units: Annotated[int, Range(1, None)] = 64,
        init_std: Annotated[float, Range(0, None, open_low=True)] = 0.1,
    ) -> None:
        """Raises FmlabError on data whose items have no vectors."""
        super().__init__()
        self.names = [f.name for f in schema.vectors if f.side == "item"]
        if not schema.has_items or not self.names:
            raise FmlabError("text_two_tower needs vectors of items, got data without them; see data.vectors")
        self.first_item = schema.item.start
        self.first_id = int(schema.offsets[schema.column_field[schema.item.start]])
        self.users = nn.Embedding(max(1, self.first_id), dim)
        nn.init.normal_(self.users.weight, std=init_std)
        width = sum(f.width for f in schema.vectors if f.side == "item")
        self.tower = nn.Sequential(nn.Linear(width, hidden_units), nn.ReLU(), nn.Linear(hidden_units, dim))

    def forward(self, ids: Tensor, values: Tensor | None = None, *, vectors: Mapping[str, Tensor]) -> Tensor:
        """`ids[*batch, columns]`, `{field: vectors[*batch, width]}` -> scores `[*batch]`."""
        at = self.first_item
        _, p = self.encode_query(ids[..., :at], None if values is None else values[..., :at])
        _, q = self.encode_item(ids[..., at:], vectors=vectors)
        return (p * q).sum(-1)

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """0, p."""
        rows = self.users(ids)
        p = rows.sum(-2) if values is None else (rows * values.unsqueeze(-1)).sum(-2)
        return p.new_zeros(p.shape[:-1]), p

    def encode_item(
        self, ids: Tensor, values: Tensor | None = None, *, vectors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """0, q."""
        q = self.tower(torch.cat([vectors[name] for name in self.names], -1))
        return q.new_zeros(q.shape[:-1]), q

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z
