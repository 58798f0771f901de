"""What a model is that trains itself on whole rows: no loss is descended, no optimizer steps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from fmlab.data.batch import Features


@dataclass(frozen=True)
class LabelledRows:
    """Rows `features.ids[n, columns]` and `label[n]` (float32), the labels on the scale on which the model scores.

    `weight[n]` (float32): how much each row counts, None where all count alike.
    """

    features: Features
    label: Tensor
    weight: Tensor | None = None


@dataclass(frozen=True)
class Fitting:
    """How a model is to train itself.

    `log_odds`: labels are 0 and 1, and scores the logarithm of the odds of label 1; otherwise scores are labels, and
    squared errors count. `goes_on(round)` is asked after each round of training; after False the model keeps the best
    that it has and returns. With `rounds`, so many are trained whatever the validation says, which may then be empty.
    """

    log_odds: bool
    seed: int
    rounds: int | None = None
    goes_on: Callable[[int], bool] = lambda _: True


@runtime_checkable
class FitsRows(Protocol):
    """A model that trains itself on labeled rows, such as boosted trees. It has no parameters for an optimizer.

    Its scores are 0 until it is trained. What it keeps is in its `state_dict`; what has no shape that follows from the
    schema is its `get_extra_state()`, a tensor of bytes. Loading that must execute nothing.
    """

    def fit_rows(self, train: LabelledRows, validation: LabelledRows, fitting: Fitting) -> int:
        """Train on `train`, stop early by `validation`; the number of rounds that are kept."""
        ...
