"""What a loss is."""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from fmlab.data import Array
from fmlab.data.batch import Batch


class Loss(Protocol):
    """Calls the model, usually through `fmlab.nn.scoring.score`; gives a scalar averaged over the rows of the
    batch.

    One that takes scores for the logarithm of the odds of label 1 has `log_odds = True`: predictions then come with
    probabilities. One that takes differences of scores and labels has `on_label_scale = True`: it then sees labels of
    mean 0 and deviation 1, and predictions are brought back to the scale of the labels
    (`fmlab.evaluation.output_transform`).
    """

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        """Scalar loss."""
        ...


@runtime_checkable
class ValidatesLabels(Protocol):
    """A loss that is defined for some labels only. Asked once, since looking at a batch waits for the device."""

    def check(self, label: Array) -> None:
        """The labels of the training rows; raises DataError if the loss is not defined for them."""
        ...
