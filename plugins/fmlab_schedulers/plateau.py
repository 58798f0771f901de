"""A learning rate that falls where validation stalls."""

from collections.abc import Mapping
from typing import Annotated, Any

from fmlab.plugin.option import Range


class Plateau:
    """`factor` times the rate after `patience` validations in a row that are not better than all before them.

    Source: Pytorch's `ReduceLROnPlateau`, with a threshold of 0; click-through benchmarks (BARS) train so, with 0.1 and
    a patience of 1.
    """

    def __init__(
        self,
        steps: int,
        epoch_steps: int,
        *,
        factor: Annotated[float, Range(0, 1, open_low=True, open_high=True), "what the rate is multiplied by"] = 0.1,
        patience: Annotated[int, Range(1, None), "validations without a better one before the rate falls"] = 1,
    ) -> None:
        """It needs neither number of steps."""
        self.factor, self.patience = factor, patience
        self.best: float | None = None
        self.worse, self.falls = 0, 0

    def rate(self, base: float, step: int) -> float:
        """The rate after as many falls as there were."""
        for _ in range(self.falls):  # one product after the other rounds as the falls themselves would
            base *= self.factor
        return base

    def validated(self, value: float) -> None:
        """Compare, and fall."""
        if self.best is None or value > self.best:
            self.best, self.worse = value, 0
            return
        self.worse += 1
        if self.worse >= self.patience:
            self.worse, self.falls = 0, self.falls + 1

    def state_dict(self) -> dict[str, Any]:
        """What was best, how often it was not reached, and how often the rate fell."""
        return {"best": self.best, "worse": self.worse, "falls": self.falls}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on comparing with what was best."""
        self.best, self.worse, self.falls = state["best"], int(state["worse"]), int(state["falls"])
