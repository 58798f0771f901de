"""Fields and schema: what a model may know of the data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from fmlab.errors import DataError

Side = Literal["user", "context", "item"]


SIDES: tuple[Side, ...] = ("user", "context", "item")


Array = np.ndarray[Any, Any]


SECOND = 1_000_000  # in the unit of `Dataset.time`


@dataclass(frozen=True)
class Field:
    """One field of a row.

    `size` counts the features of its vocabulary, the unknown feature included. A numeric field has two features,
    "missing" and "present"; the number itself is the value `x` of the row at that column.
    """

    name: str
    side: Side
    size: int
    slots: int = 1
    numeric: bool = False


@dataclass(frozen=True)
class Schema:
    """What a model may know of the data: enough to build it, and to rebuild it from a checkpoint without them."""

    fields: tuple[Field, ...]
    n_users: int = 0
    n_items: int = 0

    def __post_init__(self) -> None:
        """Check the order of sides and the uniqueness of names; raises DataError."""
        order = [SIDES.index(f.side) for f in self.fields]
        if order != sorted(order):
            raise DataError(f"fields must come in the order {SIDES}, got {[f.side for f in self.fields]}")
        names = [f.name for f in self.fields]
        if len(set(names)) != len(names):
            raise DataError(f"field names must be unique, got {names}")

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First feature id of every field: its unknown (or missing) feature."""
        sizes = [f.size for f in self.fields]
        return tuple(int(n) for n in np.cumsum([0, *sizes])[:-1])

    @cached_property
    def n_features(self) -> int:
        """Features of all vocabularies, `m` in the papers."""
        return sum(f.size for f in self.fields)

    @cached_property
    def column_field(self) -> tuple[int, ...]:
        """Index of the field that each column of a row belongs to."""
        return tuple(i for i, f in enumerate(self.fields) for _ in range(f.slots))

    @property
    def n_columns(self) -> int:
        """Columns of a row, `F` in the papers when no field is multi-valued."""
        return len(self.column_field)

    def columns(self, *sides: Side) -> slice:
        """The columns of a row that belong to the given neighbouring sides."""
        at = [c for c, f in enumerate(self.column_field) if self.fields[f].side in sides]
        return slice(at[0], at[-1] + 1) if at else slice(0, 0)

    @property
    def query(self) -> slice:
        """User and context columns: what is known before an item is chosen."""
        return slice(0, self.columns("item").start if self.has_items else self.n_columns)

    @property
    def item(self) -> slice:
        """Item columns."""
        return self.columns("item")

    @property
    def has_items(self) -> bool:
        """Whether rows are (user, item) interactions, so that items can be ranked."""
        return any(f.side == "item" for f in self.fields)

    @property
    def numeric(self) -> bool:
        """Whether any field is numeric, so that rows carry values."""
        return any(f.numeric for f in self.fields)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, for checkpoints and JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Schema":
        """Inverse of `to_dict`."""
        fields = tuple(Field(**f) for f in plain["fields"])
        return cls(fields, int(plain["n_users"]), int(plain["n_items"]))
