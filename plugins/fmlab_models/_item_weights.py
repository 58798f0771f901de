"""What models share whose score is a sum of weights of the items that the user has met."""

from typing import Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab_models._histories import bits_width, entities, unpack


class ItemWeights(nn.Module):
    """`score(u, j) = sum_i X_ui W_ij`: row j + 1 of `weight` holds what every item weighs for item j.

    Row 0 is the unknown item's. X is 1 where the user has met the item in training, `history` has a bit for each.
    """

    defaults = {"loss": None, "optimizer": None}
    item_measure = "the weight that an item has for the score of the other"
    history: Tensor
    weight: Tensor

    @staticmethod
    def n_parameters(schema: Schema, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return 0

    def __init__(self, schema: Schema, model: str, largest: int | None, *, weighs: bool = True) -> None:
        """Weights stand at 0, and are none where a model has them in another form (`weighs`).

        Raises FmlabError on data without users and items, or on more than `largest` items.
        """
        super().__init__()
        self.entities = entities(schema, model, largest=largest)
        users, items = schema.n_users, schema.n_items
        self.register_buffer("history", torch.zeros(users + 1, bits_width(items), dtype=torch.uint8))
        self.register_buffer("weight", torch.zeros((items + 1, items) if weighs else (0, 0)))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        user, item = self.entities.of_row(ids)
        return (self._met(user) * self.weight[item]).sum(-1)

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bias 0 and the user's history, as wide as there are items."""
        met = self._met(self.entities.of_user(ids))
        return torch.zeros_like(met[..., 0]), met

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bias 0 and what every item weighs for this one."""
        weight = self.weight[self.entities.of_item(ids)]
        return torch.zeros_like(weight[..., 0]), weight

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z

    def compare_items(
        self, ids: Tensor, values: Tensor | None, others: Tensor, other_values: Tensor | None = None
    ) -> Tensor:
        """What having met the first item adds to the score of the others: `[q, n]`."""
        return self.weight[self.entities.of_item(others)][:, self.entities.of_item(ids) - 1].T

    def _met(self, user: Tensor) -> Tensor:
        return unpack(self.history[user], self.entities.items, self.weight.dtype)
