"""Sums of similarities to the nearest items that a user has met: what such models share."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab_models._histories import bits_of_bytes, bits_width, entities, pack, unpack

_CELLS = 1 << 22  # similarities that are added up at once


class ItemNeighbors(nn.Module):
    """A user's score of an item is the sum of its similarities to those of its nearest items the user has met.

    A subclass says what the similarities are; nothing is trained by gradients. A list of all items adds up the
    similarities of those that have what was met among their nearest, without a number for every two items.
    """

    defaults = {"loss": None, "optimizer": None}
    scores_catalog = True
    history: Tensor
    nearest: Tensor
    similarity: Tensor

    @staticmethod
    def n_parameters(schema: Schema, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return 0

    def __init__(self, schema: Schema, model: str, n_neighbors: int) -> None:
        """No item has neighbors until `fit_interactions`; raises FmlabError on data without users and items."""
        super().__init__()
        self.entities = entities(schema, model)
        users, items = schema.n_users, schema.n_items
        k = min(n_neighbors, items)
        self.register_buffer("history", torch.zeros(users + 1, bits_width(items), dtype=torch.uint8))
        self.register_buffer("nearest", torch.zeros(items + 1, k, dtype=torch.int64))
        self.register_buffer("similarity", torch.zeros(items + 1, k))
        self._near: tuple[Tensor, Tensor, Tensor] | None = None
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    def similarities(self, user: Tensor, item: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Some items at a time: which they are, and the similarity of each to every item, `[n, items]`."""
        raise NotImplementedError

    def fit_interactions(self, user: Tensor, item: Tensor) -> None:
        """Find the neighbors; item j has row j + 1, and row 0, the unknown item's, stays empty."""
        e = self.entities
        user, item = user.cpu(), item.cpu()
        for some, shared in self.similarities(user, item):
            shared.diagonal(some.start).fill_(0.0)
            found, nearest = shared.topk(self.nearest.shape[1], dim=1)
            rows = slice(some.start + 1, some.stop + 1)
            self.similarity[rows], self.nearest[rows] = found.to(self.similarity), nearest.to(self.nearest)
        self.history.copy_(pack(user, item, e.users, e.items))
        self._near = None

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

    def catalog_scores(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """Query columns `[q, columns]` -> scores of all items `[q, items]`."""
        items = self.entities.items
        query, met = unpack(self.history[self.entities.of_user(ids)], items, torch.uint8).nonzero(as_tuple=True)
        near, weight, stop = self._near_to()
        count = torch.diff(stop, prepend=stop.new_zeros(1))
        total, done = self.similarity.new_zeros(len(ids) * items), count[met].cumsum(0)
        parts = int(done[-1]) // _CELLS if len(done) else 0
        cuts = torch.searchsorted(done, torch.arange(1, parts + 1, device=done.device) * _CELLS)
        for at in torch.tensor_split(torch.arange(len(met), device=met.device), cuts.cpu()):
            n = count[met[at]]
            first = (stop[met[at]] - n.cumsum(0)).repeat_interleave(n)
            place = first + torch.arange(len(first), device=first.device)
            total.index_add_(0, (query[at] * items).repeat_interleave(n) + near[place], weight[place])
        return total.view(len(ids), items)

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

    def _near_to(self) -> tuple[Tensor, Tensor, Tensor]:
        """The items that have an item among their nearest, by that item; their similarities; where each one's end."""
        if self._near is None or self._near[0].device != self.nearest.device:
            k = self.nearest.shape[1]
            some = self.similarity[1:].flatten().nonzero().squeeze(1)
            neighbor = self.nearest[1:].flatten()[some]
            order = torch.argsort(neighbor, stable=True)
            stop = torch.bincount(neighbor, minlength=self.entities.items).cumsum(0)
            self._near = some[order] // k, self.similarity[1:].flatten()[some[order]], stop
        return self._near


def _forget(model: ItemNeighbors, keys: object) -> None:
    model._near = None
