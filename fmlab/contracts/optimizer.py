"""What an optimizer may offer beside `step`.

Any `torch.optim.Optimizer` trains any model: gradients are made dense for one that cannot read row-sparse gradients,
and points of a manifold are brought back to it after each step of one that knows flat parameters only. Both are
logged. An optimizer whose steps follow the geometry of manifolds says `riemannian = True`.
"""

from typing import Protocol, runtime_checkable


@runtime_checkable
class EpochSchedule(Protocol):
    """An optimizer with a schedule in epochs (burn-in). `epoch` counts from 0."""

    def start_epoch(self, epoch: int) -> None:
        """Called before the first step of an epoch."""
        ...
