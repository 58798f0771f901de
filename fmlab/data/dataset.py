"""The nouns of the data: field, schema, table, data set. NumPy arrays, no I/O, no torch.

A row of features is `[user columns | context columns | item columns]`. A field takes one column, or `slots`
columns if it is multi-valued; all slots of a field share one vocabulary. Feature ids are global: the ids of field
`f` are `schema.offsets[f] .. schema.offsets[f] + size - 1`, and the first of them is the field's unknown feature,
which also pads empty slots (LorentzFM, "Lorentz Embedding Layer"). Vectors and sequences are no columns: they stand
beside the tables, and models get them that ask for them (`fmlab.data.auxiliary_inputs`).

Interactions are (user, item, context, time) with one feature table a side, never expanded rows with negatives.
Labeled rows without users and items (Criteo) are the special case in which every column is context.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from fmlab.data.schema import Array, Schema, Side


@dataclass(frozen=True)
class Table:
    """Features of the entities of one side: `ids[n, columns]` (int32, global), `values[n, columns]` or None."""

    ids: Array
    values: Array | None = None

    def take(self, rows: Array) -> "Table":
        """The given rows, copied."""
        return Table(self.ids[rows], None if self.values is None else self.values[rows])


@dataclass(frozen=True)
class Ragged:
    """Lists of ids one after the other: list n is `ids[ends[n - 1]:ends[n]]`. `ends`: int64[n]; `ids`: int32."""

    ends: Array
    ids: Array

    @classmethod
    def of(cls, lists: Iterable[Sequence[int] | Array]) -> "Ragged":
        """From lists in memory."""
        made = [np.asarray(ids, np.int32) for ids in lists]
        whole = np.concatenate([np.zeros(0, np.int32), *made])
        return cls(np.cumsum([len(ids) for ids in made], dtype=np.int64), whole)

    def __len__(self) -> int:
        """Lists."""
        return len(self.ends)

    def __getitem__(self, n: int) -> Array:
        """One list."""
        return np.asarray(self.ids[self.ends[n - 1] if n else 0 : self.ends[n]])

    def take(self, rows: Array) -> "Ragged":
        """The given lists, copied."""
        ends = np.asarray(self.ends)
        count = np.diff(ends, prepend=0)[rows]
        new = np.cumsum(count, dtype=np.int64)
        shift = np.repeat(ends[rows] - new, count)
        return Ragged(new, np.asarray(self.ids[np.arange(len(shift)) + shift]))


@dataclass(frozen=True)
class FieldEncoding:
    """How the text of a raw column becomes a field; new rows are read exactly like training rows.

    `column` is the raw column, `missing` the texts in it that stand for nothing, as an empty cell does. What is left
    goes through `transform`, see `fmlab.data.encoding.transforms`: `log_squared`; `binned` at the ascending `edges`;
    `hashed` into `buckets`; `hour`; `weekday`, of times in `time_format`, which `fmlab.data.encoding.times.Times.close`
    gives. Cells are split at `list_separator`, if it is not empty, and lists are read as lists. Numbers have the
    `decimal` sign, perhaps one between `thousands`. Of a numeric field `center` is subtracted, and the rest divided by
    `scale`.
    """

    FORMER: ClassVar[Mapping[str, str]] = {"within": "list_separator", "times": "time_format"}
    """Names that files of earlier versions have."""

    column: str
    list_separator: str = ""
    missing: tuple[str, ...] = ()
    transform: str = ""
    edges: tuple[float, ...] = ()
    buckets: int = 0
    decimal: str = "."
    thousands: str = ""
    time_format: str = ""
    center: float = 0.0
    scale: float = 1.0

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "FieldEncoding":
        """Inverse of `dataclasses.asdict`, also after JSON, and of earlier versions."""
        named = {cls.FORMER.get(k, k): v for k, v in stored.items()}
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in named.items()}
        return cls(**values)


@dataclass(frozen=True)
class PositivesRule:
    """What a paper counts as a positive interaction: label >= `min_label`, then a `core`-core filter."""

    min_label: float | None = None
    core: int = 0


@dataclass(frozen=True)
class PublishedFigure:
    """A statistic of a data set in a paper: 573000, `printed` as 573K.

    `reason`: why ours differs from it, where that is known. Shares are between 0 and 1.
    """

    paper: str
    statistic: str
    value: float
    printed: str
    reason: str = ""


@dataclass(frozen=True)
class PreparationStep:
    """What one step of preparation left: printed, so that nothing is lost in silence."""

    name: str
    rows: int
    users: int
    items: int
    features: int


@dataclass(frozen=True)
class PlantedScores:
    """A planted score `bias_u + bias_i + <user, item>`: the best that any model can do on a synthetic set."""

    user: Array
    item: Array
    user_bias: Array
    item_bias: Array


@dataclass(frozen=True)
class Dataset:
    """A prepared data set. Arrays may be memory-mapped and must not be written to.

    `user`, `item`: int32[rows], indices into the side tables, or None when every column is context.
    `context`: features of each interaction. `label`: float32[rows] (click, rating), None if all
    are positives; float64 where float32 would not tell labels apart.
    `targets`: several labels of each row by name, in order, the first of which is `label`; empty where there is one.
    `weight`: float32[rows], how much a row counts in the loss and in the metrics of labeled rows; None: all alike.
    `group`: int32[rows], numbers of the users, sessions or impression lists that rows belong to, for metrics by group.
    `time`: int64[rows], microseconds since 1970 (taken for UTC where the source names no zone).
    `split`: int8[rows], 0 train, 1 validation, 2 test, if the source comes split.
    `keys`: per field, the raw values (str) in feature order without the unknown one; `user` and `item` as well.
    `inputs`: per field, how its raw text is read; a field without one is read from the column of its name, its values
    as in `keys`, several of them split at `|`. `time_input`: how the text of times is read, None where it is unknown.
    `vectors`: of each vector field float32[n, width], `sequences`: of each sequence field n lists of ids; n are users,
    items or rows, as the field's side says. `keys` has the values of vocabularies that belong to sequences alone.
    `published`: the statistics that papers print of this set.
    """

    name: str
    schema: Schema
    rows: int
    user: Array | None = None
    item: Array | None = None
    users: Table | None = None
    items: Table | None = None
    context: Table | None = None
    label: Array | None = None
    targets: Mapping[str, Array] = field(default_factory=dict)
    weight: Array | None = None
    group: Array | None = None
    time: Array | None = None
    split: Array | None = None
    rule: PositivesRule = field(default_factory=PositivesRule)
    steps: tuple[PreparationStep, ...] = ()
    keys: Mapping[str, Array] = field(default_factory=dict)
    inputs: Mapping[str, FieldEncoding] = field(default_factory=dict)
    published: tuple[PublishedFigure, ...] = ()
    truth: PlantedScores | None = None
    fingerprint: str = ""
    vectors: Mapping[str, Array] = field(default_factory=dict)
    sequences: Mapping[str, Ragged] = field(default_factory=dict)
    time_input: FieldEncoding | None = None

    def entities(self, side: Side) -> int:
        """How many users or items there are; rows for the context."""
        return {"user": self.schema.n_users, "item": self.schema.n_items, "context": self.rows}[side]

    def __post_init__(self) -> None:
        """Make `label` and the first of several targets the same array: the label wins where both are given."""
        if self.targets:
            first = next(iter(self.targets))
            if self.label is None:
                object.__setattr__(self, "label", self.targets[first])
            elif self.label is not self.targets[first]:
                object.__setattr__(self, "targets", {**self.targets, first: self.label})

    def input(self, name: str) -> FieldEncoding:
        """How the raw text of a field is read."""
        found = next(f for f in (*self.schema.fields, *self.schema.auxiliary) if f.name == name)
        single = found.kind in ("categorical", "numeric")
        return self.inputs.get(name, FieldEncoding(name, list_separator="" if single else "|"))

    def row_ids(self, rows: Array) -> Table:
        """Whole feature rows `[len(rows), columns]` of the given interactions."""
        parts = []
        if self.users is not None and self.user is not None:
            parts.append(self.users.take(np.asarray(self.user[rows])))
        if self.context is not None:
            parts.append(self.context.take(rows))
        if self.items is not None and self.item is not None:
            parts.append(self.items.take(np.asarray(self.item[rows])))
        ids = np.concatenate([p.ids for p in parts], axis=1)
        if not self.schema.numeric:
            return Table(ids)
        ones = [np.ones(p.ids.shape, np.float32) if p.values is None else p.values for p in parts]
        return Table(ids, np.concatenate(ones, axis=1))
