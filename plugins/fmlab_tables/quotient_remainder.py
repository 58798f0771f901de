"""The quotient-remainder trick."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from fmlab.plugin.option import Range


class QuotientRemainder(nn.Module):
    """A feature's row is that of its remainder times that of its quotient: no two features share both.

    With `m = ceil(n / collisions)` of a field's n features, feature i has row `i mod m` of one table and `i div m` of
    another: `m + ceil(n / m)` rows in place of n. Fields for which that is no less keep a row for each feature.

    Paper: Shi, Mudigere, Naumov, Yang, Compositional embeddings using complementary partitions for memory-efficient
      recommendation systems, KDD 2020, algorithm 2; `operation` is its omega.

    The table of quotients starts with ones, or zeros for a sum, so that training starts from the vectors of the model.
    """

    offset: Tensor
    modulus: Tensor
    first: Tensor
    second: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        collisions: Annotated[int, Range(2, None), "features that share a row of the table of remainders"] = 4,
        operation: Annotated[Literal["product", "sum"], "how the rows of remainder and quotient combine"] = "product",
    ) -> None:
        """`sizes`: features of each field."""
        super().__init__()
        self.combine = operation
        remainders = [-(-n // collisions) for n in sizes]
        quotients = [-(-n // m) for n, m in zip(sizes, remainders, strict=True)]
        shared = [m + q < n for n, m, q in zip(sizes, remainders, quotients, strict=True)]
        rows = [m if s else n for n, m, s in zip(sizes, remainders, shared, strict=True)]
        more = [q if s else 0 for q, s in zip(quotients, shared, strict=True)]
        self.rows = (sum(rows), sum(more)) if any(shared) else (sum(rows),)
        for name, numbers in (
            ("offset", [0, *accumulate(sizes)][:-1]),
            ("modulus", rows),
            ("first", [0, *accumulate(rows)][:-1]),
            ("second", [a if s else -1 for a, s in zip([0, *accumulate(more)], shared, strict=False)]),
        ):
            self.register_buffer(name, torch.tensor(list(numbers), dtype=torch.int64), persistent=False)

    def forward(self, ids: Tensor) -> tuple[Tensor, ...]:
        """Features -> rows of remainders and of quotients, int64 `[n]` each."""
        field = torch.bucketize(ids, self.offset, right=True) - 1
        local = ids - self.offset[field]
        modulus, second = self.modulus[field], self.second[field]
        remainder = self.first[field] + local % modulus
        if len(self.rows) == 1:
            return (remainder,)
        return remainder, torch.where(second < 0, second, second + local // modulus)
