"""One loss for each of several targets, added with weights."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from fmlab.contracts import Loss, ValidatesLabels
from fmlab.data import Array, Dataset
from fmlab.data.batch import Batch
from fmlab.errors import FmlabError
from fmlab.nn.scoring import GivenScores, target_scores


class TargetLosses:
    """`sum_t weight_t loss(scores of t, labels of t)` for a model whose `forward` gives `{target: score}`.

    `names`: the targets. A loss that has `target_weights`, numbers in the order of the targets, is weighted by them;
    all count alike where it has none, or an empty one. What the loss says of its scores (`log_odds`) stays true.
    """

    def __init__(self, loss: Loss, names: Sequence[str]) -> None:
        """Raises FmlabError unless there is one weight for each target, none below 0 and some above."""
        self.loss, self.names = loss, tuple(names)
        given = tuple(getattr(loss, "target_weights", ())) or (1.0,) * len(self.names)
        if len(given) != len(self.names) or min(given) < 0 or max(given) == 0:
            raise FmlabError(
                f"loss.target_weights must be a number from 0 on for each of the targets {', '.join(self.names)}, some "
                f"above 0; got {list(given)}"
            )
        self.weights = given
        self.log_odds = bool(getattr(loss, "log_odds", False))
        self.on_label_scale = bool(getattr(loss, "on_label_scale", False))

    def check(self, label: Array) -> None:
        """Ask the loss whether it is defined for these labels, of any target; raises DataError."""
        if isinstance(self.loss, ValidatesLabels):
            self.loss.check(label)

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        """Scalar; `forward` is called once."""
        scores = target_scores(model, batch, self.names)
        terms = [
            weight * self.loss(GivenScores(scores[name]), replace(batch, label=batch.targets[name], targets={}))
            for name, weight in zip(self.names, self.weights, strict=True)
            if weight
        ]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total


def loss_of_targets(loss: Loss, dataset: Dataset) -> Loss:
    """The loss as a data set needs it; raises FmlabError for weights of targets where there is one."""
    if dataset.targets:
        return TargetLosses(loss, tuple(dataset.targets))
    if getattr(loss, "target_weights", ()):
        raise FmlabError(f"loss.target_weights are of several targets, {dataset.name!r} has one: leave them out")
    return loss
