"""Item-based nearest neighbors."""

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.plugin.option import Range, Renamed
from fmlab_models._histories import LARGEST, bits_of_bytes, bits_width, cooccurrences, entities, pack, unpack


class ItemKNN(nn.Module):
    """A user's score of an item is the sum of its similarities to those of its nearest items the user has met.

    `s_ij = n_ij / (sqrt(n_i n_j) + shrink)`, the shrunk cosine of the items' columns of the user-item matrix, `n_ij`
    the users who have met both, kept for the `n_neighbors` items nearest to each.

    Paper: Deshpande, Karypis, Item-based top-N recommendation algorithms, ACM TOIS 2004.

    Shrinkage is as in Ferrari Dacrema, Cremonesi, Jannach, Are we really making much progress?, RecSys 2019. Nothing is
    trained by gradients.

    Fitted: `n_neighbors` similarities of each item are kept
    Cost: O(n_neighbors)
    Test: tests/models/test_ease_itemknn_ials.py::test_itemknn_sums_shrunk_cosines_of_the_nearest
    Family: collaborative
    """

    defaults = {"loss": None, "optimizer": None}
    space = {"n_neighbors": {"int": [10, 1000], "log": True}, "shrink": {"float": [0.0, 200.0]}}
    item_measure = "shrunk cosine of the items' users, 0 beyond the nearest neighbors"
    history: Tensor
    nearest: Tensor
    similarity: Tensor

    @staticmethod
    def n_parameters(schema: Schema, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return 0

    def __init__(
        self,
        schema: Schema,
        *,
        n_neighbors: Annotated[int, Range(1, None), "number of neighbors of an item", Renamed("neighbours")] = 100,
        shrink: Annotated[float, Range(0, None), "number added to the denominator of similarities"] = 0.0,
    ) -> None:
        """No item has neighbors until `fit_interactions`; raises FmlabError on data without users and items, or on too
        many."""
        super().__init__()
        self.entities, self.shrink = entities(schema, "itemknn", largest=LARGEST), shrink
        users, items = schema.n_users, schema.n_items
        k = min(n_neighbors, items)
        self.register_buffer("history", torch.zeros(users + 1, bits_width(items), dtype=torch.uint8))
        self.register_buffer("nearest", torch.zeros(items + 1, k, dtype=torch.int64))
        self.register_buffer("similarity", torch.zeros(items + 1, k))

    def fit_interactions(self, user: Tensor, item: Tensor) -> None:
        """Find the neighbors; item j has row j + 1, and row 0, the unknown item's, stays empty."""
        e = self.entities
        user, item = user.cpu(), item.cpu()
        counts = cooccurrences(user, item, e.users, e.items)
        root = counts.diagonal().clone().sqrt()
        for row, norm in zip(counts, root, strict=True):
            row.div_((norm * root + self.shrink).clamp_min(torch.finfo(row.dtype).tiny))
        counts.fill_diagonal_(0.0)
        similarity, nearest = counts.topk(self.nearest.shape[1], dim=1)
        self.history.copy_(pack(user, item, e.users, e.items))
        self.similarity[1:], self.nearest[1:] = similarity.to(self.similarity), nearest.to(self.nearest)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        user, item = self.entities.of_row(ids)
        nearest = self.nearest[item]
        if torch.compiler.is_exporting():
            bytes_ = self.history[user].gather(-1, nearest // 8).long()
            return (bits_of_bytes(ids.device)[bytes_, nearest % 8] * self.similarity[item]).sum(-1)
        bits = self.history[user].gather(-1, nearest // 8) >> (nearest % 8).to(torch.uint8) & 1
        return (bits * self.similarity[item]).sum(-1)

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bias 0 and the user's history, as wide as there are items."""
        met = unpack(self.history[self.entities.of_user(ids)], self.entities.items, self.similarity.dtype)
        return torch.zeros_like(met[..., 0]), met

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bias 0 and the similarity of every item, 0 beyond the nearest."""
        item = self.entities.of_item(ids)
        row = self.similarity.new_zeros(*item.shape, self.entities.items)
        row.scatter_(-1, self.nearest[item], self.similarity[item])
        return torch.zeros_like(row[..., 0]), row

    def fold_in(self, item: Tensor) -> Tensor:
        """Scores of all items, as for a user of the training who has met these: exact."""
        met = self.similarity.new_zeros(self.entities.items)
        met[item] = 1.0
        return (met[self.nearest[1:]] * self.similarity[1:]).sum(1)

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z

    def compare_items(
        self, ids: Tensor, values: Tensor | None, others: Tensor, other_values: Tensor | None = None
    ) -> Tensor:
        """The similarities that the score sums: `[q, n]`."""
        return self.encode_item(ids)[1][:, self.entities.of_item(others) - 1]
