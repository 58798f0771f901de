"""What losses share: means over rows, and the demand for candidates."""

from typing import Literal

from torch import Tensor

from fmlab.data.batch import Batch
from fmlab.errors import FmlabError


def mean_over_rows(loss: Tensor, reduction: Literal["row", "mean"], weight: Tensor | None = None) -> Tensor:
    """Mean over the rows of `loss[B]` or `loss[B, n]`, each times its `weight[B]` (`Batch.row_weight`) if there is one.

    With "row" the terms of one row (a positive and its negatives) are summed first, with "mean" they are averaged;
    on `loss[B]` the two agree. Learning rates of one and of the other differ by the factor n.
    """
    if weight is not None:
        loss = loss * (weight if loss.dim() == 1 else weight.unsqueeze(1)).to(loss.dtype)
    return loss.mean() if reduction == "mean" else loss.sum() / loss.shape[0]


def require_candidates(batch: Batch, loss: str) -> None:
    """Raise FmlabError unless every positive stands with its sampled negatives."""
    if not batch.has_candidates:
        raise FmlabError(
            f"{loss} compares a positive with its sampled negatives, got labeled rows; choose a protocol that samples "
            "negatives (full_ranking, leave_one_out) or a pointwise loss (bce, squared)"
        )
