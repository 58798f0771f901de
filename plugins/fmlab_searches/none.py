"""No search."""

from fmlab.contracts import SearchSpace


def none(space: SearchSpace) -> None:
    """The model is trained once, whole."""
