"""What a table plugin is: how features share the rows of embedding tables."""

from collections.abc import Sequence
from typing import Literal, Protocol

from torch import Tensor


class RowSharing(Protocol):
    """Which rows the features of some fields have in one or several component tables.

    A plugin is called as `(sizes, *, options)`: the number of features of each field of a table, in order; feature 0
    of a field is its unknown one. It gives an `nn.Module` of this kind without parameters, or None where every feature
    has a row of its own. It must be made for each field alone: the rows of a table are the sum of those of its fields,
    so that parameters are counted without a model being built.
    """

    rows: Sequence[int]
    """The number of rows of each component table, 1 or more of them."""
    combine: Literal["product", "sum"]
    """How the rows of a feature become its embedding, element by element."""

    def __call__(self, ids: Tensor) -> Sequence[Tensor]:
        """`ids[n]`, int64, features of these fields counted from 0 -> the row in each component table, int64 `[n]`.

        The first component has a row for each feature; in others -1 stands where a feature has none.
        """
        ...
