"""What a scheduler of the learning rate is."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


class Scheduler(Protocol):
    """A learning rate that changes while a model is trained.

    A plugin is called as `(steps, epoch_steps, *, options)`: the training steps of the whole run and those of an epoch,
    both at least 1. A step is one update by the optimizer. It gives None for a rate that stays as it is.

    `depends_on_end = True` says that the rate depends on `steps`: a run is then resumed with the same
    `trainer.max_epochs` only, and a trial of a sweep has as many epochs as fit into its time.
    """

    def rate(self, base: float, step: int) -> float:
        """The learning rate at `step` (from 0) of parameters whose option `lr` is `base`: finite, 0 or more.

        It depends on these numbers, on the options, and on the state that `FollowsValidation` keeps, and on nothing
        else: a resumed run asks again.
        """
        ...


@runtime_checkable
class FollowsValidation(Protocol):
    """A scheduler whose rate depends on validations. Its state is part of each checkpoint."""

    def validated(self, value: float) -> None:
        """Called after each validation with the monitored metric; larger is better, for errors the sign is changed."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What it remembers of the validations, in built-in containers."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        ...
