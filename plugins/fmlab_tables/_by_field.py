"""What layouts of tables have in common."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from fmlab.data import Schema


def field_sizes(schema: Schema, fields: range) -> list[int]:
    """Features of each field of a table."""
    return [schema.fields[f].size for f in fields]


def starts(numbers: Sequence[int]) -> list[int]:
    """Where each of neighboring parts begins."""
    return [0, *accumulate(numbers)][: len(numbers)]


class ByField(nn.Module):
    """A layout that keeps a few whole numbers for each field."""

    offset: Tensor

    def __init__(self, sizes: Sequence[int]) -> None:
        """`sizes`: features of each field."""
        super().__init__()
        self.sizes = tuple(sizes)
        self.keep("offset", starts(sizes))

    def keep(self, name: str, numbers: Sequence[int]) -> None:
        """A buffer of int64, which no checkpoint has."""
        self.register_buffer(name, torch.tensor(list(numbers), dtype=torch.int64), persistent=False)

    def within(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The number of each feature's field, and its number within the field."""
        field = torch.bucketize(ids, self.offset, right=True) - 1
        return field, ids - self.offset[field]

    def rows_of(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """The first `counts[f]` rows of each field."""
        parts = [rows[start : start + n] for start, n in zip(starts(self.sizes), counts, strict=True)]
        return torch.cat(parts)
