"""The hashing trick."""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from fmlab.contracts.table import TableGroup
from fmlab.data import Schema
from fmlab.plugin.option import Range
from fmlab_tables._by_field import ByField, field_sizes, starts

_PRIME, _FACTOR = 2**31 - 1, 1_103_515_245  # ids times the factor stay below 2^62


class Hashed(ByField):
    """Fields of more than `buckets` features have that many rows, and a hash says which feature has which.

    `h(i) = 1 + (a i mod p) mod (buckets - 1)`; the unknown feature of a field has row 0 for itself. Fields that are no
    larger keep a row for each feature.

    Paper: Weinberger, Dasgupta, Langford, Smola, Attenberg, Feature hashing for large scale multitask learning,
      ICML 2009, section 2, without the sign.
    """

    one_row = True
    size: Tensor
    row: Tensor
    first: Tensor

    def __init__(
        self,
        schema: Schema,
        fields: range,
        width: int,
        *,
        buckets: Annotated[int, Range(2, None), "rows of a field that has more features"] = 1000,
    ) -> None:
        """`fields`: numbers of the fields of the table, `width`: numbers of an embedding."""
        super().__init__(sizes := field_sizes(schema, fields))
        self.counts = [min(size, buckets) for size in sizes]
        self.groups = (TableGroup(((sum(self.counts), width),)),)
        self.keep("size", sizes)
        self.keep("row", self.counts)
        self.keep("first", starts(self.counts))

    def forward(self, ids: Tensor) -> list[list[Tensor]]:
        """Features -> rows, int64 `[n]`."""
        field, local = self.within(ids)
        rows = self.row[field]
        hashed = 1 + (local * _FACTOR % _PRIME) % (rows - 1).clamp_min(1)
        own = torch.where(local == 0, local, hashed)
        return [[self.first[field] + torch.where(self.size[field] <= rows, local, own)]]

    def embed(self, group: int, rows: Sequence[Tensor], shared: Sequence[Tensor]) -> Tensor:
        """The row."""
        return rows[0]

    def start(self, rows: Tensor) -> list[Tensor]:
        """The first rows of each field."""
        return [self.rows_of(rows, self.counts)]
