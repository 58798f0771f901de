"""What an optimizer may offer beside `step`."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class EpochSchedule(Protocol):
    """An optimizer with a schedule in epochs (burn-in). `epoch` counts from 0."""

    def start_epoch(self, epoch: int) -> None:
        """Called before the first step of an epoch."""
        ...
