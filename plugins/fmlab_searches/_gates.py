"""What gates on features and fields share."""

from typing import Annotated

import torch
from torch import Tensor

from fmlab.contracts import SearchedTable, SearchSpace
from fmlab.plugin.option import Range

Epochs = Annotated[int, Range(1, None), "epochs of the search, before the model is trained anew"]
Rate = Annotated[float, Range(0, None, open_low=True), "learning rate of the gates, which Adam moves"]


def fields_of(space: SearchSpace, table: SearchedTable) -> Tensor:
    """The field of each row of a table, int64 `[rows]`."""
    starts = torch.tensor(space.schema.offsets, dtype=torch.int64)
    rows = table.first + torch.arange(len(table.start))
    return torch.bucketize(rows, starts, right=True) - 1
