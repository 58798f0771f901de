"""Whole embedding tables."""

from fmlab.data import Schema


def full(schema: Schema, fields: range, width: int) -> None:
    """Every feature has a row of its own."""
