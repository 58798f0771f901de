"""No schedule."""


def none(steps: int, epoch_steps: int) -> None:
    """The learning rate stays as it is.

    Source: none needed.
    """
