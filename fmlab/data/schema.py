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


Kind = Literal["categorical", "multi-valued", "numeric", "vector", "sequence"]


@dataclass(frozen=True)
class Field:
    """One field of a row, a user or an item.

    `size` counts the features of its vocabulary, the unknown feature included. A numeric field has two features,
    "missing" and "present"; the number itself is the value `x` of the row at that column.

    A vector field holds `width` given numbers, for instance of a text or an image; its size is 0. A `sequence` holds
    ids in their order, repeats included. `vocabulary` names the field whose features they are, then its size is 0, or
    a vocabulary of `size` ids that sequences of that name share; empty is one of its own. In a vocabulary that belongs
    to sequences alone ids count from 0, the unknown one. These two kinds take no column of a row.
    """

    name: str
    side: Side
    size: int
    slots: int = 1
    numeric: bool = False
    width: int = 0
    sequence: bool = False
    vocabulary: str = ""

    @property
    def kind(self) -> Kind:
        """What the field holds."""
        if self.width or self.sequence:
            return "vector" if self.width else "sequence"
        return "numeric" if self.numeric else "multi-valued" if self.slots > 1 else "categorical"

    def to_dict(self) -> dict[str, Any]:
        """Built-in containers; what only vectors and sequences have is left out elsewhere, as in earlier versions."""
        stored = asdict(self)
        return {k: v for k, v in stored.items() if v or k not in ("width", "sequence", "vocabulary")}


@dataclass(frozen=True)
class Schema:
    """What a model may know of the data: enough to build it, and to rebuild it from a checkpoint without them.

    `fields` have columns of a row. `auxiliary` are vectors and sequences, which models get that ask for them.
    """

    fields: tuple[Field, ...]
    n_users: int = 0
    n_items: int = 0
    auxiliary: tuple[Field, ...] = ()

    def __post_init__(self) -> None:
        """Check the order of sides, the uniqueness of names and the kinds; raises DataError."""
        order = [SIDES.index(f.side) for f in self.fields]
        if order != sorted(order):
            raise DataError(f"fields must come in the order {SIDES}, got {[f.side for f in self.fields]}")
        names = [f.name for f in (*self.fields, *self.auxiliary)]
        if len(set(names)) != len(names):
            raise DataError(f"field names must be unique, got {names}")
        for field, columns in (*((f, True) for f in self.fields), *((f, False) for f in self.auxiliary)):
            if (field.kind not in ("vector", "sequence")) != columns:
                where = "fields" if columns else "auxiliary"
                raise DataError(f"vectors and sequences stand in auxiliary, other kinds in fields; {where} has {field}")
            if not columns and (field.size > 0) != (field.sequence and self.owner(field) is None):
                rule = "a sequence has a size where its vocabulary is of no other field, and a vector has none"
                raise DataError(f"{rule}; got {field}")

    @property
    def vectors(self) -> tuple[Field, ...]:
        """The vector fields."""
        return tuple(f for f in self.auxiliary if f.width)

    @property
    def sequences(self) -> tuple[Field, ...]:
        """The sequence fields."""
        return tuple(f for f in self.auxiliary if f.sequence)

    @cached_property
    def history(self) -> Field | None:
        """The sequence of items that the data say a user had before: ids of the field that names items."""
        first = next((f.name for f in self.fields if f.side == "item"), None)
        own = (f for f in self.sequences if f.side != "item" and f.vocabulary == first)
        return next(own, None) if first else None

    def owner(self, sequence: Field) -> int | None:
        """The place in `fields` of the field whose features a sequence holds; None for a vocabulary of sequences."""
        found = (n for n, f in enumerate(self.fields) if sequence.vocabulary == f.name and not f.numeric)
        return next(found, None)

    def ids_of(self, sequence: Field) -> range:
        """The ids that a sequence may hold; the first is the unknown one."""
        at = self.owner(sequence)
        if at is None:
            return range(sequence.size)
        return range(self.offsets[at], self.offsets[at] + self.fields[at].size)

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
        """The columns of a row that belong to the given neighboring sides."""
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
        """Built-in containers, for checkpoints and JSON; without vectors and sequences as earlier versions wrote."""
        stored = {"fields": tuple(f.to_dict() for f in self.fields), "n_users": self.n_users, "n_items": self.n_items}
        return stored | ({"auxiliary": tuple(f.to_dict() for f in self.auxiliary)} if self.auxiliary else {})

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Schema":
        """Inverse of `to_dict`."""
        fields, auxiliary = (tuple(Field(**f) for f in stored.get(part, ())) for part in ("fields", "auxiliary"))
        return cls(fields, int(stored["n_users"]), int(stored["n_items"]), auxiliary)
