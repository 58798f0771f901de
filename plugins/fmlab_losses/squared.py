"""Squared error."""

from typing import Annotated, Literal

from torch import Tensor

from fmlab.data.batch import Batch
from fmlab.nn.losses import mean_over_rows
from fmlab.nn.scoring import score


class Squared:
    """Squared difference of score and label, `(s - y)^2`; for ratings, or targets +1 and -1.

    Source: GML-FM (section 3.3 of the reproduced settings), with targets +1 and -1.

    Labels other than classes are standardized before, by mean and deviation of the training rows, so that a learning
    rate means the same for stars, prices and hours; metrics and predictions are on the scale of the labels.
    """

    on_label_scale = True

    def __init__(
        self,
        *,
        reduction: Annotated[
            Literal["row", "mean"], "row sums the terms of a positive and its negatives, mean averages all terms"
        ] = "row",
        target_weights: Annotated[tuple[float, ...], "weight of each target in the sum of losses"] = (),
    ) -> None:
        """On labeled rows the two reductions agree. `target_weights`: of several targets, in their order; () is 1."""
        self.reduction, self.target_weights = reduction, target_weights

    def __call__(self, model: object, batch: Batch) -> Tensor:
        """Scalar."""
        scores = score(model, batch)
        return mean_over_rows((scores - batch.label.to(scores.dtype)).square(), self.reduction, weight=batch.row_weight)
