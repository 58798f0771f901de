"""From scores to predictions: a model learns standardized labels, and is judged and served on the scale of the labels.

Ratings from 1 to 5, prices and hours differ in their mean and their spread; a model that begins near 0 and takes steps
of one learning rate would need another number of epochs for each. The scale is an offset and a factor outside of the
model, so that models without a bias have them too, and `forward` stays the score itself.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fmlab.contracts import Task
from fmlab.data import Array
from fmlab.data.labels import is_binary, probability
from fmlab.errors import DataError, FmlabError

SMALLEST = 1e-150  # deviation of labels whose squares a float64 still holds


@dataclass(frozen=True)
class OutputTransform:
    """How a score becomes a prediction: `center + scale * score`, or the probability of log-odds, then clipped.

    `low` and `high` bound predictions where the protocol clips them; None where it does not. `shift` is added to
    log-odds: the logarithm of the share of negatives that was trained on (He et al., ADKDD 2014, section 6.3).
    """

    center: float = 0.0
    scale: float = 1.0
    log_odds: bool = False
    low: float | None = None
    high: float | None = None
    shift: float = 0.0

    @classmethod
    def of(cls, label: Array, loss: Any, bounds: tuple[float, float] | None = None) -> "OutputTransform":
        """The scale for a loss of these labels of training rows, `label[rows]`; `bounds` are those of judged scores.

        A loss with `on_label_scale = True` sees labels of mean 0 and deviation 1, computed in float64. Classes, 0/1 or
        -1/1, stay what they are; labels that are all equal are centered alone. Other losses see the labels as they are.
        """
        low, high = bounds or (None, None)
        if getattr(loss, "log_odds", False):
            return cls(log_odds=True, low=low, high=high)
        if not getattr(loss, "on_label_scale", False) or is_binary(label):
            return cls(low=low, high=high)
        exact = np.asarray(label, np.float64)
        center, size = _mean_and_size(exact)
        if size < SMALLEST:
            raise DataError(
                f"labels that differ must have a deviation of {SMALLEST:g} or more, got {size:.2g}; multiply them"
            )
        return cls(center, size, low=low, high=high)

    @property
    def is_identity(self) -> bool:
        """Whether predictions are the scores themselves, perhaps clipped."""
        return self.center == 0 and self.scale == 1 and not self.log_odds

    def standardized(self, label: Array) -> Array:
        """What the loss compares scores with, float32: the labels are centered before they are narrowed."""
        if self.center == 0 and self.scale == 1:
            return np.asarray(label, np.float32)
        return ((np.asarray(label, np.float64) - self.center) / self.scale).astype(np.float32)

    def predicted(self, score: Array) -> Array:
        """Predictions float64 of scores of any shape, on the scale of the labels: what is judged and served."""
        found = np.asarray(score, np.float64)
        if self.log_odds:
            found = probability(found + self.shift)
        elif not self.is_identity:
            found = self.center + self.scale * found
        return found if self.low is None else np.clip(found, self.low, self.high)

    def served(self, output: Array) -> Array:
        """Scores of the outputs of a model, of any shape: log-odds stay what they are, others are predictions."""
        if self.log_odds:
            return output + np.asarray(self.shift, output.dtype) if self.shift else output
        if self.is_identity and self.low is None:
            return output
        return self.predicted(output)

    def to_dict(self) -> dict[str, Any]:
        """Built-in containers, for checkpoints."""
        return {name: value for name, value in asdict(self).items() if name != "shift" or value}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any] | None) -> "OutputTransform":
        """Inverse of `to_dict`; checkpoints of before have none."""
        return cls(**(stored or {}))


def output_transform_for(task: Task, loss: Any) -> OutputTransform:
    """The scale of the labels that the training rows carry, bounded as the protocol bounds what it judges."""
    if task.training.negatives or task.dataset.label is None:
        return OutputTransform()
    if task.dataset.targets and not getattr(loss, "log_odds", False):
        wrong = [n for n, t in task.dataset.targets.items() if not is_binary(np.asarray(t)[task.training.rows])]
        if wrong and getattr(loss, "on_label_scale", False):
            raise FmlabError(
                "several targets are classes, 0 and 1: labels on scales of their own are trained on one by one; "
                f"{', '.join(wrong)} has others"
            )
    label = np.asarray(task.dataset.label[task.training.rows])
    scale = OutputTransform.of(label, loss, getattr(task.test, "bounds", None))
    if task.training.negative_rate == 1:
        return scale
    if not scale.log_odds:
        raise FmlabError(
            "protocol.negative_rate is corrected for in log-odds: it needs a loss that takes scores for those, as bce"
        )
    return replace(scale, shift=math.log(task.training.negative_rate))


def set_output_transform(model: Any, scale: OutputTransform) -> None:
    """Make a model carry the scale of its labels; its parameters and its `forward` stay what they are."""
    model.__dict__["label_scale"] = scale


def output_transform_of(model: Any) -> OutputTransform:
    """The scale of the labels that a model was trained on; the identity for what was not trained by fmlab."""
    found = getattr(model, "label_scale", None)
    return found if isinstance(found, OutputTransform) else OutputTransform()


def _mean_and_size(label: Array) -> tuple[float, float]:
    """Mean and deviation float64; the deviation is 1 where labels do not differ."""
    low, high = float(label.min()), float(label.max())
    if low == high:
        return low, 1.0
    place = (label - low) / (high - low)  # sums of these neither overflow nor cancel, whatever the labels' size
    mean = float(place.mean())
    return low * (1 - mean) + high * mean, (high - low) * float(place.std())
