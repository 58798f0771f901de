"""A learning rate that falls as half a cosine."""

from math import cos, pi
from typing import Annotated

from fmlab.plugin.option import Range


class Cosine:
    """From the rate down to `final` times itself over the run, as half a cosine, after a rise over `warmup` epochs.

    `final + (1 - final) (1 + cos(pi t / T)) / 2` times the rate at step t of T after the rise.

    Paper: Loshchilov, Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017, equation 5, without
    restarts.

    The end is that of `trainer.max_epochs`: a run that stops early has not come down to the end.
    """

    depends_on_end = True

    def __init__(
        self,
        steps: int,
        epoch_steps: int,
        *,
        final: Annotated[float, Range(0, 1), "share of the rate that is left at the last step"] = 0.0,
        warmup: Annotated[float, Range(0, None), "epochs of a rise in a line at the start"] = 0.0,
    ) -> None:
        """`warmup` may be part of an epoch."""
        self.rise, self.final = round(warmup * epoch_steps), final
        self.last = max(1, steps - 1 - self.rise)

    def rate(self, base: float, step: int) -> float:
        """Of one step."""
        if step < self.rise:
            return base * (step + 1) / self.rise
        done = min(1.0, (step - self.rise) / self.last)
        return base * (self.final + (1 - self.final) * (1 + cos(pi * done)) / 2)
