"""The hashing trick."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from fmlab.plugin.option import Range

_PRIME, _FACTOR = 2**31 - 1, 1_103_515_245  # ids times the factor stay below 2^62


class Hashed(nn.Module):
    """Fields of more than `buckets` features have that many rows, and a hash says which feature has which.

    `h(i) = 1 + (a i mod p) mod (buckets - 1)`; the unknown feature of a field has row 0 for itself. Fields that are no
    larger keep a row for each feature.

    Paper: Weinberger, Dasgupta, Langford, Smola, Attenberg, Feature hashing for large scale multitask learning,
      ICML 2009, section 2, without the sign.
    """

    combine: Literal["product"] = "product"  # of one table
    size: Tensor
    offset: Tensor
    row: Tensor
    first: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        buckets: Annotated[int, Range(2, None), "rows of a field that has more features"] = 1000,
    ) -> None:
        """`sizes`: features of each field."""
        super().__init__()
        rows = [min(size, buckets) for size in sizes]
        self.rows = (sum(rows),)
        for name, numbers in (
            ("size", sizes),
            ("row", rows),
            ("offset", [0, *accumulate(sizes)][:-1]),
            ("first", [0, *accumulate(rows)][:-1]),
        ):
            self.register_buffer(name, torch.tensor(list(numbers), dtype=torch.int64), persistent=False)

    def forward(self, ids: Tensor) -> tuple[Tensor]:
        """Features -> rows, int64 `[n]`."""
        field = torch.bucketize(ids, self.offset, right=True) - 1
        local = ids - self.offset[field]
        rows = self.row[field]
        hashed = 1 + (local * _FACTOR % _PRIME) % (rows - 1).clamp_min(1)
        own = torch.where(local == 0, local, hashed)
        return (self.first[field] + torch.where(self.size[field] <= rows, local, own),)
