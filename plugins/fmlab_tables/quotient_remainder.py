"""The quotient-remainder trick."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from fmlab.contracts.table import TableGroup
from fmlab.data import Schema
from fmlab.plugin.option import Range
from fmlab_tables._by_field import ByField, field_sizes, starts


class QuotientRemainder(ByField):
    """A feature's row is that of its remainder times that of its quotient: no two features share both.

    With `m = ceil(n / collisions)` of a field's n features, feature i has row `i mod m` of one table and `i div m` of
    another: `m + ceil(n / m)` rows in place of n. Fields for which that is no less keep a row for each feature.

    Paper: Shi, Mudigere, Naumov, Yang, Compositional embeddings using complementary partitions for memory-efficient
      recommendation systems, KDD 2020, algorithm 2; `operation` is its omega.

    The table of quotients starts with ones, or zeros for a sum, so that training starts from the vectors of the model.
    """

    one_row = False
    own: Tensor
    modulus: Tensor
    first: Tensor
    second: Tensor

    def __init__(
        self,
        schema: Schema,
        fields: range,
        width: int,
        *,
        collisions: Annotated[int, Range(2, None), "features that share a row of the table of remainders"] = 4,
        operation: Annotated[Literal["product", "sum"], "how the rows of remainder and quotient combine"] = "product",
    ) -> None:
        """`fields`: numbers of the fields of the table, `width`: numbers of an embedding."""
        super().__init__(sizes := field_sizes(schema, fields))
        self.product = operation == "product"
        remainders = [-(-n // collisions) for n in sizes]
        quotients = [-(-n // m) for n, m in zip(sizes, remainders, strict=True)]
        shares = [m + q < n for n, m, q in zip(sizes, remainders, quotients, strict=True)]
        self.whole = [0 if s else n for s, n in zip(shares, sizes, strict=True)]
        self.remainders = [m if s else 0 for s, m in zip(shares, remainders, strict=True)]
        quotients = [q if s else 0 for s, q in zip(shares, quotients, strict=True)]
        self.groups = (
            TableGroup(((sum(self.whole), width),)),
            TableGroup(((sum(self.remainders), width), (sum(quotients), width))),
        )
        self.keep("modulus", [m if s else 1 for s, m in zip(shares, remainders, strict=True)])
        self.keep("own", [-1 if s else a for s, a in zip(shares, starts(self.whole), strict=True)])
        self.keep("first", [a if s else -1 for s, a in zip(shares, starts(self.remainders), strict=True)])
        self.keep("second", starts(quotients))

    def forward(self, ids: Tensor) -> list[list[Tensor]]:
        """Features -> rows of their own; rows of remainders and of quotients, int64 `[n]` each."""
        field, local = self.within(ids)
        own, first = self.own[field], self.first[field]
        modulus = self.modulus[field]
        remainder = torch.where(first < 0, first, first + local % modulus)
        quotient = torch.where(first < 0, first, self.second[field] + local // modulus)
        return [[torch.where(own < 0, own, own + local)], [remainder, quotient]]

    def embed(self, group: int, rows: Sequence[Tensor], shared: Sequence[Tensor]) -> Tensor:
        """The row, or the product or sum of both."""
        if group == 0:
            return rows[0]
        return rows[0] * rows[1] if self.product else rows[0] + rows[1]

    def start(self, rows: Tensor) -> list[Tensor]:
        """The first rows of each field, and ones or zeros."""
        quotients = rows.new_full(self.groups[1].tables[1], float(self.product))
        return [self.rows_of(rows, self.whole), self.rows_of(rows, self.remainders), quotients]
