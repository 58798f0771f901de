"""A learning rate that rises at the start."""

from typing import Annotated

from fmlab.plugin.option import Range


class Warmup:
    """The rate rises in a line from `start` times itself to itself over the first `epochs`, step by step.

    Paper: Goyal et al., Accurate, large minibatch SGD: training ImageNet in 1 hour, 2017, section 2.2.
    """

    def __init__(
        self,
        steps: int,
        epoch_steps: int,
        *,
        epochs: Annotated[float, Range(0, None, open_low=True), "length of the rise; may be part of an epoch"] = 1.0,
        start: Annotated[float, Range(0, 1), "share of the rate at the first step"] = 0.0,
    ) -> None:
        """It does not need `steps`."""
        self.steps, self.start = max(1, round(epochs * epoch_steps)), start

    def rate(self, base: float, step: int) -> float:
        """The first step has a rate above 0 even where `start` is 0: a step of length 0 would teach nothing."""
        if step >= self.steps:
            return base
        return base * (self.start + (1 - self.start) * (step + 1) / self.steps)
