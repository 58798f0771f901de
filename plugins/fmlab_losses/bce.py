"""Binary cross-entropy."""

from typing import Annotated, Literal

from torch import Tensor
from torch.nn import functional

from fmlab.data import Array
from fmlab.data.batch import Batch
from fmlab.errors import DataError
from fmlab.nn.losses import mean_over_rows
from fmlab.nn.scoring import tempered_score


class BCE:
    """Binary cross-entropy of the scores, taken as log-odds, with the labels: `log(1 + exp(s)) - y s`.

    Source: LorentzFM (Xu, Wu, AAAI 2020), equation 10. The paper does not state the reduction: here it is the sum
    over a positive and its negatives, averaged over positives ("row"), or the mean of all terms ("mean").
    """

    log_odds = True

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

    def check(self, label: Array) -> None:
        """Raise DataError unless all labels are in [0, 1]; called once, as looking at a batch waits for the device."""
        if len(label) and not (label.min() >= 0 and label.max() <= 1):
            raise DataError(
                f"bce needs labels in [0, 1], got {label.min():g} to {label.max():g}; for other labels choose the loss "
                "squared, or a protocol that turns them into positives"
            )

    def __call__(self, model: object, batch: Batch) -> Tensor:
        """Scalar; finite for any finite score."""
        scores = tempered_score(model, batch)
        terms = functional.binary_cross_entropy_with_logits(scores, batch.label.to(scores.dtype), reduction="none")
        return mean_over_rows(terms, self.reduction, weight=batch.row_weight)
