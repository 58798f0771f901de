"""From what a model gives to the score that is judged and served: one function for both."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fmlab.data import Array


@dataclass(frozen=True)
class ScoreScale:
    """`clip(shift + factor * output, low, high)`, on the scale of the labels; as it stands it changes nothing."""

    shift: float = 0.0
    factor: float = 1.0
    low: float | None = None
    high: float | None = None

    def __call__(self, output: Array) -> Array:
        """Scores of the outputs of a model, of the same shape and type."""
        scores = output
        if (self.shift, self.factor) != (0.0, 1.0):
            scores = (self.shift + self.factor * output.astype(np.float64)).astype(output.dtype)
        if self.low is not None or self.high is not None:
            scores = np.clip(scores, self.low, self.high).astype(output.dtype)
        return scores

    def to_dict(self) -> dict[str, float | None]:
        """Plain containers, for JSON."""
        return asdict(self)


def scale_of(evaluation: Any) -> ScoreScale:
    """The scale on which an evaluation judges: its attribute `scale`, of what it wraps if it has none."""
    found = getattr(evaluation, "scale", None)
    if found is None and (inner := getattr(evaluation, "inner", None)) is not None:
        return scale_of(inner)
    return found if isinstance(found, ScoreScale) else ScoreScale()


def clipping(bounds: tuple[float, float] | None) -> ScoreScale:
    """A scale that clips to the bounds, if there are any."""
    return ScoreScale() if bounds is None else ScoreScale(low=bounds[0], high=bounds[1])


def from_dict(plain: Mapping[str, Any]) -> ScoreScale:
    """Inverse of `ScoreScale.to_dict`; raises ValueError or TypeError for what is none."""
    from fmlab.untrusted import checked

    return checked(ScoreScale, plain)
