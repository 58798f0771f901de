"""A lower learning rate in the first epochs."""

from typing import Annotated

from fmlab.plugin.option import Range


class BurnIn:
    """`factor` times the rate in the first `epochs` epochs: points find their directions before they move far.

    Paper: Nickel, Kiela, Poincaré embeddings for learning hierarchical representations, NeurIPS 2017, section 3;
    "burn-in period" in LorentzFM (Xu, Wu, AAAI 2020).
    """

    def __init__(
        self,
        steps: int,
        epoch_steps: int,
        *,
        epochs: Annotated[int, Range(0, None), "epochs at the lower rate"] = 10,
        factor: Annotated[float, Range(0, 1, open_low=True), "what the rate is multiplied by"] = 0.1,
    ) -> None:
        """It does not need `steps`."""
        self.steps, self.factor = epochs * epoch_steps, factor

    def rate(self, base: float, step: int) -> float:
        """Of one step."""
        return base * self.factor if step < self.steps else base
