"""Bayesian personalized ranking."""

from typing import Annotated, Literal

from torch import Tensor
from torch.nn import functional

from fmlab.data.batch import Batch
from fmlab.nn.losses import mean_over_rows, require_candidates
from fmlab.nn.scoring import tempered_score


class BPR:
    """Minus the log-probability that a positive outscores its sampled negatives: `log(1 + exp(s_neg - s_pos))`.

    Paper: Rendle, Freudenthaler, Gantner, Schmidt-Thieme, BPR: Bayesian personalized ranking from implicit feedback,
    UAI 2009.
    """

    def __init__(
        self,
        *,
        reduction: Annotated[
            Literal["row", "mean"], "row sums the terms of a positive over its negatives, mean averages them"
        ] = "row",
    ) -> None:
        """The terms of one positive are summed over its negatives ("row") or averaged ("mean")."""
        self.reduction = reduction

    def __call__(self, model: object, batch: Batch) -> Tensor:
        """Scalar; raises FmlabError on labeled rows."""
        require_candidates(batch, "bpr")
        scores = tempered_score(model, batch, differences=True)
        return mean_over_rows(
            functional.softplus(scores[:, 1:] - scores[:, :1]), self.reduction, weight=batch.row_weight
        )
