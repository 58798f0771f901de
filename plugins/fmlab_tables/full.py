"""Whole embedding tables."""

from collections.abc import Sequence


def full(sizes: Sequence[int]) -> None:
    """Every feature has a row of its own."""
