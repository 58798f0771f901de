"""Embeddings of mixed dimensions."""

from collections.abc import Sequence
from math import log2
from typing import Annotated

import torch
from torch import Tensor

from fmlab.contracts.table import TableGroup
from fmlab.data import Schema
from fmlab.errors import FmlabError
from fmlab.plugin.option import Range
from fmlab_tables._by_field import ByField, field_sizes, starts


class Mixed(ByField):
    """Features of large fields have narrow embeddings, which a matrix of the field widens to the model's.

    A field of n features, of which a row has s, has `d = D (s n_0 / n)^alpha` numbers for each feature, rounded and at
    least 1. D is the width of the model's table; `n_0` is the smallest `n / s` of the data, whose field has D numbers.
    An embedding is `e P`, P the d x D matrix of the field. Fields with `d = D`, and those that `n d + d D` numbers do
    not make smaller, keep a row for each feature, without a matrix. `dims` says d itself, field by field.

    Paper: Ginart, Naumov, Mudigere, Yang, Zou, Mixed dimension embeddings with application to memory-efficient
      recommendation systems, ISIT 2021, algorithm 2 with the temperature `alpha`; a feature of a field of n is as
      popular as `1 / n`, times s as in the authors' code.

    Narrow embeddings and matrices start from Gaussians, such that wide embeddings have the deviation of the model's,
    column by column.
    """

    one_row = False
    group: Tensor
    first: Tensor

    def __init__(
        self,
        schema: Schema,
        fields: range,
        width: int,
        *,
        alpha: Annotated[float, Range(0, 1), "temperature: 0 gives all fields one width"] = 0.3,
        dims: Annotated[tuple[int, ...] | None, "width of each field of the data, in place of alpha"] = None,
        power_of_two: Annotated[bool, "whether widths by alpha are rounded to powers of two"] = False,
    ) -> None:
        """`fields`: numbers of the fields of the table, `width`: numbers of an embedding.

        Raises FmlabError unless `dims` has a width of 1 or more for each field of the schema.
        """
        super().__init__(sizes := field_sizes(schema, fields))
        if dims is not None and (len(dims) != len(schema.fields) or min(dims) < 1):
            names = ", ".join(f.name for f in schema.fields)
            raise FmlabError(f"table.dims must have a width >= 1 for each of the fields {names}; got {list(dims)}")
        given = _by_size(schema, width, alpha, power_of_two) if dims is None else [min(d, width) for d in dims]
        self.dims = [given[f] for f in fields]
        self.whole = [n if d == width else 0 for n, d in zip(sizes, self.dims, strict=True)]
        narrow = [(n, d) for n, d in zip(sizes, self.dims, strict=True) if d < width]
        self.groups = (
            TableGroup(((sum(self.whole), width),)),
            *(TableGroup(((n, d),), ((d, width),)) for n, d in narrow),
        )
        numbers = iter(range(1, len(self.groups)))
        self.keep("group", [next(numbers) if d < width else 0 for d in self.dims])
        self.keep("first", [a if d == width else 0 for a, d in zip(starts(self.whole), self.dims, strict=True)])

    def forward(self, ids: Tensor) -> list[list[Tensor]]:
        """Features -> rows of the table of their group, int64 `[n]`."""
        field, local = self.within(ids)
        row, group = self.first[field] + local, self.group[field]
        return [[torch.where(group == g, row, -1)] for g in range(len(self.groups))]

    def embed(self, group: int, rows: Sequence[Tensor], shared: Sequence[Tensor]) -> Tensor:
        """The row, or its product with the matrix of the field."""
        return rows[0] @ shared[0] if group else rows[0]

    def start(self, rows: Tensor) -> list[Tensor]:
        """Rows of the model, and for each narrow field random rows and a random matrix."""
        made = [self.rows_of(rows, self.whole)]
        by_column, spread = rows.std(0, correction=0), rows.std(correction=0)
        spread = torch.where(spread > 0, spread, torch.ones_like(spread))
        for group in self.groups[1:]:
            (table,), (matrix,) = group.tables, group.shared
            made += [
                torch.randn(table, dtype=rows.dtype, device=rows.device) * spread,
                torch.randn(matrix, dtype=rows.dtype, device=rows.device) * (by_column / spread / matrix[0] ** 0.5),
            ]
        return made


def _by_size(schema: Schema, width: int, alpha: float, power_of_two: bool) -> list[int]:
    """The width of each field of a schema, `width` where a narrower one would not take fewer numbers."""
    share = [f.size / f.slots for f in schema.fields]
    found = []
    for field, n in zip(schema.fields, share, strict=True):
        d = width * (min(share) / n) ** alpha
        d = 2 ** round(log2(max(1, d))) if power_of_two and d < width else round(d)
        d = min(width, max(1, d))
        found.append(d if field.size * d + d * width < field.size * width else width)
    return found
