"""A learning rate that falls every few epochs."""

from typing import Annotated

from fmlab.plugin.option import Range


class Step:
    """`factor` times the rate after every `epochs` epochs.

    Source: He, Zhang, Ren, Sun, Deep residual learning for image recognition, CVPR 2016, section 3.4, whose rate falls
    so by hand; PyTorch's `StepLR`.
    """

    def __init__(
        self,
        steps: int,
        epoch_steps: int,
        *,
        epochs: Annotated[int, Range(1, None), "epochs between two falls"] = 10,
        factor: Annotated[float, Range(0, 1, open_low=True, open_high=True), "what the rate is multiplied by"] = 0.1,
    ) -> None:
        """It does not need `steps`."""
        self.every, self.factor = epochs * epoch_steps, factor

    def rate(self, base: float, step: int) -> float:
        """Of one step."""
        return base * self.factor ** (step // self.every)
