"""Feature ids and values as tensors."""

from typing import NamedTuple

import torch
from torch import Tensor

from fmlab.data.dataset import Table


class Features(NamedTuple):
    """Feature ids `[*batch, columns]` (int, global) and their values, None when all are 1."""

    ids: Tensor
    values: Tensor | None = None

    def take(self, index: Tensor) -> "Features":
        """Rows at `index[*batch]`."""
        return Features(_rows(self.ids, index), None if self.values is None else _rows(self.values, index))

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "Features":
        """The same on another device, values of another type if one is given."""
        return Features(self.ids.to(device), None if self.values is None else self.values.to(device, dtype))

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
