"""The L2 penalty of collaborative filtering: on the vectors that a batch looks up."""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from fmlab.data.batch import Batch
from fmlab.plugin.option import Range

BatchL2 = Annotated[
    float,
    Range(0, None),
    "weight of half the squared norms of what a batch looks up, by rows: the L2 of BPR-MF, NGCF and LightGCN",
]


def looked_up_norm(
    weight: float, batch: Batch, of_user: Callable[[Tensor], Tensor], of_item: Callable[[Tensor], Tensor]
) -> Tensor:
    """`weight / (2 B) sum over rows of |user|^2 + |positive|^2 + sum over negatives of |negative|^2`, a scalar.

    An entity counts as often as it stands in the batch of `B` rows. `of_user` and `of_item` give the vectors of query
    and item columns.

    Source: the published code of LightGCN (He et al., SIGIR 2020), `bpr_loss` and `decay`; its weight is 1e-4.
    """
    if not weight or batch.item is None or batch.tables.items is None:
        return torch.zeros((), device=batch.label.device)
    item = batch.tables.items.take(batch.item)
    total = of_user(batch.query().ids).square().sum() + of_item(item.ids).square().sum()
    return total * (weight / (2 * batch.size))
