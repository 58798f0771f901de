"""A batch: slices of index arrays, and the feature tables they point into, on one device.

A batch of candidates has `item[B, 1 + n]`, the positive first, and labels 1, 0, ..., 0.
A batch of labelled rows has `item[B]`, or no item at all, and the rows' own labels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from fmlab.data.dataset import Dataset, Table


class Features(NamedTuple):
    """Feature ids `[*batch, columns]` (int, global) and their values, None when all are 1."""

    ids: Tensor
    values: Tensor | None = None

    def take(self, index: Tensor) -> "Features":
        """Rows at `index[*batch]`."""
        return Features(_rows(self.ids, index), None if self.values is None else _rows(self.values, index))

    def to(self, device: torch.device) -> "Features":
        """The same on another device."""
        return Features(self.ids.to(device), None if self.values is None else self.values.to(device))

    def join(self, other: "Features") -> "Features":
        """Columns of both, after broadcasting their leading axes: `[*batch, columns + columns]`."""
        shape = torch.broadcast_shapes(self.ids.shape[:-1], other.ids.shape[:-1])  # type: ignore[no-untyped-call]
        both = [f.ids.expand(*shape, f.ids.shape[-1]) for f in (self, other)]
        if self.values is None and other.values is None:
            return Features(torch.cat(both, -1))
        ones = [torch.ones(f.ids.shape, device=f.ids.device) if f.values is None else f.values for f in (self, other)]
        return Features(torch.cat(both, -1), torch.cat([v.expand(*shape, v.shape[-1]) for v in ones], -1))


def _rows(table: Tensor, index: Tensor) -> Tensor:
    # One index_select on a flat index is several times faster on CPU than advanced indexing.
    return table.index_select(0, index.reshape(-1)).view(*index.shape, table.shape[1])


def as_features(table: Table) -> Features:
    """A side table as tensors; memory-mapped arrays are copied into memory once."""
    values = None if table.values is None else torch.tensor(table.values, dtype=torch.float32)
    return Features(torch.tensor(table.ids), values)


@dataclass(frozen=True)
class Tables:
    """The feature tables of both sides; None where the data have no such side."""

    users: Features | None
    items: Features | None

    @classmethod
    def of(cls, dataset: Dataset) -> "Tables":
        """Tables of a data set, on the CPU."""
        return cls(*(None if t is None else as_features(t) for t in (dataset.users, dataset.items)))

    def to(self, device: torch.device) -> "Tables":
        """The same on another device."""
        return Tables(*(None if t is None else t.to(device) for t in (self.users, self.items)))


@dataclass(frozen=True)
class Batch:
    """What a loss sees.

    `user[B]`, `item[B]` or `item[B, 1 + n]`, `context[B, columns]`: each None where the data have none.
    `label`: float, of the shape of the scores. `weight`: what the loss is multiplied with so that unequal
    shares of a global batch add up to its mean.

    `row_weight[B]`: how much each row counts, with mean 1 over the training rows; None: all alike.
    `targets`: the labels `[B]` of several targets by name, the first of which is `label`; empty where there is one.
    `log_q[B, 1 + n]`: the logarithm of the chance of each candidate to be drawn, over that of a uniform draw; None for
    uniform draws, and where the sampler corrects nothing. Losses over candidates subtract it from the scores.
    """

    tables: Tables
    user: Tensor | None
    item: Tensor | None
    context: Features | None
    label: Tensor
    weight: float = 1.0
    row_weight: Tensor | None = None
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    log_q: Tensor | None = None

    @property
    def size(self) -> int:
        """Rows, or positives with their negatives, in this batch."""
        return self.label.shape[0]

    @property
    def has_candidates(self) -> bool:
        """Whether each positive stands with its sampled negatives."""
        return self.label.dim() == 2

    def query(self) -> Features:
        """User and context columns `[B, columns]`."""
        if self.user is None or self.tables.users is None:
            if self.context is None:
                raise ValueError("a batch has a user side, a context side, or both; got neither")
            return self.context
        users = self.tables.users.take(self.user)
        return users if self.context is None else users.join(self.context)

    def rows(self) -> Features:
        """Whole rows: `[B, columns]`, or `[B, 1 + n, columns]` for candidates."""
        query = self.query()
        if self.item is None or self.tables.items is None:
            return query
        items = self.tables.items.take(self.item)
        if self.has_candidates:
            query = Features(query.ids.unsqueeze(1), None if query.values is None else query.values.unsqueeze(1))
        return query.join(items)

    def to(self, device: torch.device) -> "Batch":
        """The same on another device; the tables are expected to be there already and are moved if not."""
        return replace(self._mapped(lambda t: t.to(device)), tables=self.tables.to(device))

    def head(self, n: int) -> "Batch":
        """The first `n` rows, with the weight of a whole batch."""
        return replace(self._mapped(lambda t: t[:n]), weight=1.0)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """With `change` applied to everything that has a row axis."""

        def of(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else change(tensor)

        context = self.context
        return replace(
            self,
            user=of(self.user),
            item=of(self.item),
            context=None if context is None else Features(change(context.ids), of(context.values)),
            label=change(self.label),
            row_weight=of(self.row_weight),
            targets={name: change(target) for name, target in self.targets.items()},
            log_q=of(self.log_q),
        )
