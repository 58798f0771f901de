"""Fields that a model does not get: those that are named, or those that nearly repeat another field."""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from fmlab.data.dataset import Dataset, Table
from fmlab.data.schema import SIDES, Array, Schema, Side
from fmlab.errors import DataError, choices

LEAST = 100  # values of a field that can repeat another one
SHARED = 3  # values of the other field for each of its own, at most
EXACT = 0.98  # of the values of the other field, the share that must come with one of its own alone
SAMPLE = 1 << 18  # training rows that are looked at


@dataclass(frozen=True)
class KeptFields:
    """The fields of the schema `base` without those that are `ignored`, and tables of them."""

    base: Schema
    ignored: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raises DataError for a field that is none, and where no field is left."""
        names = [f.name for f in self.base.fields]
        for name in self.ignored:
            if name not in names:
                raise DataError(f"ignored_fields names fields of the data, got {name!r}; {choices(name, names)}")
        if len(set(self.ignored)) == len(names):
            raise DataError(f"ignored_fields must leave a field, got all: {', '.join(names)}")

    @cached_property
    def schema(self) -> Schema:
        """The fields that are left, in their order."""
        fields = tuple(f for f in self.base.fields if f.name not in self.ignored)
        return Schema(fields, self.base.n_users, self.base.n_items)

    @cached_property
    def columns(self) -> Array:
        """The column that each kept column has in a row of `base`."""
        return np.flatnonzero([self.base.fields[f].name not in self.ignored for f in self.base.column_field])

    @cached_property
    def lower(self) -> Array:
        """By how much the ids of each kept column are lower, int32."""
        new = [self.schema.offsets[f] for f in self.schema.column_field]
        old = [self.base.offsets[self.base.column_field[c]] for c in self.columns]
        return np.asarray(old, np.int32) - np.asarray(new, np.int32)

    def of(self, table: Table, *sides: Side) -> Table:
        """The kept columns of a table with the columns of these neighboring sides, of all if none is named."""
        if not self.ignored:
            return table
        where = self.base.columns(*(sides or SIDES))
        inside = (self.columns >= where.start) & (self.columns < where.stop)
        columns = self.columns[inside] - where.start
        ids = np.asarray(table.ids)[:, columns] - self.lower[inside]
        values = None if table.values is None or not self.schema.numeric else np.asarray(table.values)[:, columns]
        return Table(ids, values)


def repeating_fields(data: Dataset, training: Array) -> tuple[str, ...]:
    """The fields that nearly repeat another one in the training rows (int64), as zip codes that hardly two users share.

    A categorical field does where nearly every value of another field comes with one of its own, and where it has a
    third as many values or more. Of two that repeat each other the later one does. Users and items, the first fields
    of their sides, never do.
    """
    schema = data.schema
    columns = {schema.fields[f].name: c for c, f in enumerate(schema.column_field)}
    first = {next((f.name for f in schema.fields if f.side == side), "") for side in ("user", "item")}
    if len(training) > SAMPLE:
        training = training[np.random.default_rng(0).choice(len(training), SAMPLE, replace=False)]
    ids = data.row_ids(training).ids
    fields = [f.name for f in schema.fields if f.kind == "categorical" and f.size > LEAST]
    places = {name: np.unique(ids[:, columns[name]], return_inverse=True)[1] for name in fields}
    count = {name: int(place.max(initial=-1)) + 1 for name, place in places.items()}
    found: list[str] = []
    for repeated, name in (pair for one, other in combinations(fields, 2) for pair in ((one, other), (other, one))):
        if name in first or name in found or repeated in found:
            continue
        alike = max(LEAST, count[repeated] / SHARED) <= count[name] <= count[repeated]
        if alike and _tells(places[repeated], places[name]):
            found.append(name)
    return tuple(name for name in fields if name in found)


def _tells(one: Array, other: Array) -> bool:
    """Whether nearly each of the values `one[rows]` comes with a single one of `other[rows]`, numbers from 0 on."""
    size = int(other.max()) + 1
    several = np.bincount(np.unique(one.astype(np.int64) * size + other) // size)
    return float((several == 1).mean()) >= EXACT
