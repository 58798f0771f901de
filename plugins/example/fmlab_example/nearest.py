"""A metric model in the linear time of an inner product."""

from typing import Annotated

from torch import Tensor, nn

from fmlab.api import FmlabError, Range, Schema


class Nearest(nn.Module):
    """Scores fall with the squared distance between the points of the user and of the item.

    Source: written for this example.

    s = b - |p - q|^2, where p, q and b sum over the features of the user (and context) and of the item. As
    |p - q|^2 = |p|^2 + |q|^2 - 2 <p, q>, the score has two sides, and all items are ranked by one matrix product.
    """

    defaults = {"loss": "listwise", "optimizer": "adam"}
    space = {"init_std": {"float": [0.01, 1.0], "log": True}}

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Annotated[int, Range(1, None)] = 16,
        init_std: Annotated[float, Range(0, None, open_low=True)] = 0.1,
    ) -> None:
        """Raises FmlabError on data without items."""
        super().__init__()
        if not schema.has_items:
            raise FmlabError("nearest compares users with items, got data without items")
        self.first_item = schema.item.start
        self.point = nn.Embedding(schema.n_features, dim)
        self.bias = nn.Embedding(schema.n_features, 1)
        nn.init.normal_(self.point.weight, std=init_std)
        nn.init.zeros_(self.bias.weight)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        query, item = ids[..., : self.first_item], ids[..., self.first_item :]
        x, y = (None, None) if values is None else (values[..., : self.first_item], values[..., self.first_item :])
        (a, p), (b, q) = self.encode_query(query, x), self.encode_item(item, y)
        return a + b + (p * q).sum(-1)

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """-|p|^2, 2p."""
        p = _pool(self.point, ids, values)
        return -p.square().sum(-1), 2 * p

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """b - |q|^2, q."""
        q = _pool(self.point, ids, values)
        return _pool(self.bias, ids, values).squeeze(-1) - q.square().sum(-1), q

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z


def _pool(table: nn.Embedding, ids: Tensor, values: Tensor | None) -> Tensor:
    rows = table(ids)
    return rows.sum(-2) if values is None else (rows * values.unsqueeze(-1)).sum(-2)
