"""What a model class may tell a search over models about its first points."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from fmlab.data import Schema

OPERATIONS = 5e10
"""Multiplications and additions a second, of a core that solves a system of thousands of equations."""


@runtime_checkable
class SuitsOptions(Protocol):
    """A model class that tells which values of its options suit data of a size, for the first points of a search."""

    @staticmethod
    def suited_options(schema: Schema, rows: int, **options: Any) -> Mapping[str, Any]:
        """Options besides `options`, which are those of a point or their defaults. `rows`: of the training."""
        ...


@runtime_checkable
class CountsFitting(Protocol):
    """A model class that counts what `fit_interactions` takes, which no time limit can cut."""

    @staticmethod
    def fit_operations(schema: Schema, rows: int, **options: Any) -> float:
        """Multiplications and additions, with these options. `rows`: of the training."""
        ...
