"""What models share whose score is a sum of weights of the items that the user has met."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmlab.data import Schema
from fmlab_models._histories import bits_width, entities, unpack

COPIED = 12_000  # items up to which a second copy of the weights is affordable


class ItemWeights(nn.Module):
    """`score(u, j) = sum_i X_ui W_ij`: row j + 1 of `weight` holds what every item weighs for item j.

    Row 0 is the unknown item's. X is 1 where the user has met the item in training, `history` has a bit for each. A
    list of all items is a sum of what each item weighs that the user has met, of which there are few: these rows are a
    copy of the weights, up to 12,000 items.
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
        self.scores_catalog = items <= COPIED
        self._by_item: Tensor | None = None
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

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

    def catalog_scores(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """Query columns `[q, columns]` -> scores of all items `[q, items]`."""
        return self._summed(ids, self._weighs())

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z

    def compare_items(
        self, ids: Tensor, values: Tensor | None, others: Tensor, other_values: Tensor | None = None
    ) -> Tensor:
        """What having met the first item adds to the score of the others: `[q, n]`."""
        return self.weight[self.entities.of_item(others)][:, self.entities.of_item(ids) - 1].T

    def _summed(self, ids: Tensor, weight: Tensor, by_item: Tensor | None = None) -> Tensor:
        """Of each query the rows of `weight[items, items]` of what it has met, times `by_item[items]`, added up."""
        met = unpack(self.history[self.entities.of_user(ids)], self.entities.items, torch.uint8)
        query, item = met.nonzero(as_tuple=True)
        starts = torch.bincount(query, minlength=len(ids)).cumsum(0)
        starts = torch.cat([starts.new_zeros(1), starts[:-1]])
        return functional.embedding_bag(
            item, weight, starts, mode="sum", per_sample_weights=None if by_item is None else by_item[item]
        )

    def _weighs(self) -> Tensor:
        """Row i holds what item i weighs for every item, `[items, items]`; made when it is first asked for."""
        made, weight = self._by_item, self.weight
        if made is None or (made.device, made.dtype) != (weight.device, weight.dtype):
            self._by_item = made = weight[1:].T.contiguous()
        return made

    def _met(self, user: Tensor) -> Tensor:
        return unpack(self.history[user], self.entities.items, self.weight.dtype)


def _forget(model: ItemWeights, keys: object) -> None:
    model._by_item = None
