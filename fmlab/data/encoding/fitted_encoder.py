"""The fitted encoder: rows of raw text as the features that preparation gave their values.

It never changes once it is made. What it does not know is counted, never guessed. A known user or item has the features
of its side table, whatever else the rows say of it. One that is not known has the unknown feature of the id, and its
attributes where the rows have columns for them.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from fmlab.data.dataset import Dataset, FieldEncoding, Table
from fmlab.data.encoding.number_parsing import parse_numbers
from fmlab.data.encoding.scaling import scaled
from fmlab.data.encoding.transforms import transform_of
from fmlab.data.raw.cells import parts, readable, split
from fmlab.data.schema import SIDES, Array, Field, Schema, Side
from fmlab.errors import DataError, choices

EXAMPLES = 3
SHOWN = 5
QUERY: tuple[Side, ...] = ("user", "context")
Rows = Any  # a record batch of dictionary-encoded text, as `fmlab.data.raw.table.batches` gives


@dataclass
class Tally:
    """What became of the values of one field: how many were unseen, missing, or more than the field has slots."""

    unseen: int = 0
    missing: int = 0
    dropped: int = 0
    examples: dict[str, None] = field(default_factory=dict)

    def count(self, unseen: Array, missing: Array, dropped: Array, texts: list[str]) -> None:
        """Numbers of each row, and examples of the unseen."""
        self.unseen += int(unseen.sum())
        self.missing += int(missing.sum())
        self.dropped += int(dropped.sum())
        for text in texts[: EXAMPLES - len(self.examples)]:
            self.examples.setdefault(text)


Tallies = Mapping[str, Tally]


@dataclass(frozen=True)
class Column:
    """A raw column that rows may have: the fields made of it, and whether rows must have it."""

    name: str
    fields: tuple[str, ...]
    required: bool


@dataclass(frozen=True)
class RowInputColumn:
    """A raw column that only a model reads which asks for it: of a vector or a sequence, or the times.

    `codes`: the ids of a sequence by their text.
    """

    field: str
    side: Side
    given: FieldEncoding
    required: bool
    codes: Mapping[str, int] | None

    def known(self, texts: list[str | None]) -> list[bool]:
        """Of each text whether it holds known values alone."""
        if self.codes is None:
            return [t is not None for t in texts]
        cells = [[] if t is None else parts(t, self.given.list_separator) for t in texts]
        return [bool(cell) and all(part in self.codes for part in cell) for cell in cells]


class Encoder:
    """Rows as feature ids and values, for the vocabularies of one data set."""

    def __init__(
        self,
        schema: Schema,
        inputs: Mapping[str, FieldEncoding],
        keys: Mapping[str, Array],
        users: Table | None,
        items: Table | None,
        unread: Collection[str] = (),
    ) -> None:
        """`keys`: of each field that is not numeric, its values in feature order; they are read into memory.

        `inputs`: how the raw text of each field is read. `users`, `items`: the side tables. `unread`: fields that
        nothing reads, whose columns rows may lack.
        """
        self.schema, self.unread = schema, frozenset(unread)
        self.row_inputs: dict[str, RowInputColumn] = {}
        self.sides: dict[Side, list[_Reader]] = {side: [] for side in SIDES}
        self.tables: dict[Side, Table | None] = {"user": users, "item": items}
        for one, offset in zip(schema.fields, schema.offsets, strict=True):
            known = [] if one.numeric else keys[one.name].tolist()
            self.sides[one.side].append(_Reader(one, offset, inputs[one.name], known))
        self._readers = {r.field.name: r for readers in self.sides.values() for r in readers}

    @classmethod
    def of(cls, dataset: Dataset) -> "Encoder":
        """The encoder that preparation has fitted."""
        inputs = {f.name: dataset.input(f.name) for f in dataset.schema.fields}
        return cls(dataset.schema, inputs, dataset.keys, dataset.users, dataset.items)

    def tallies(self) -> dict[str, Tally]:
        """One for each field, at zero."""
        return {f.name: Tally() for f in (*self.schema.fields, *self.schema.sequences)}

    def known(self, field: str, texts: list[str | None]) -> list[bool]:
        """Of each text whether all that it holds are known values of a field."""
        return self.row_inputs[field].known(texts) if field in self.row_inputs else self._readers[field].known(texts)

    def input(self, field: str) -> FieldEncoding:
        """How the raw text of a field is read."""
        return self.row_inputs[field].given if field in self.row_inputs else self._readers[field].given

    def id_column(self, side: Side) -> str:
        """The column that names the users, or the items."""
        return self.sides[side][0].given.column

    def columns(self, *sides: Side) -> list[Column]:
        """The raw columns of the given sides, in the order of the fields: ids and context are required."""
        made: dict[str, list[str]] = {}
        required = set()
        for side in sides or SIDES:
            for at, reader in enumerate(self.sides[side]):
                made.setdefault(reader.given.column, []).append(reader.field.name)
                names_an_entity = at == 0 and side != "context"
                if names_an_entity or (self.tables.get(side) is None and reader.field.name not in self.unread):
                    required.add(reader.given.column)
            for row_inputs in (m for m in self.row_inputs.values() if m.side == side):
                made.setdefault(row_inputs.given.column, []).append(row_inputs.field)
                required |= {row_inputs.given.column} if row_inputs.required else set()
        return [Column(name, tuple(fields), name in required) for name, fields in made.items()]

    def refuse_missing(self, names: Collection[str], where: str, *sides: Side) -> None:
        """Raise DataError if the columns `names` lack a required one of the given sides."""
        wanted = [c.name for c in self.columns(*sides) if c.required]
        if missing := [n for n in wanted if n not in names]:
            near = [(n, choices(n, set(names) - set(wanted)).partition("choices: ")[0].strip()) for n in missing]
            listed = ", ".join(f"{n!r} ({hint})" if hint else repr(n) for n, hint in near)
            rule = f"rows need the column{'s' * (len(wanted) > 1)} {', '.join(map(repr, wanted))}"
            raise DataError(f"{rule}; {where} has no {listed}; its columns are {', '.join(sorted(names)) or '(none)'}")

    def encode(self, rows: Rows, tallies: Tallies, *sides: Side) -> Table:
        """Features `[rows, columns]` of the given neighboring sides, all by default; raises DataError."""
        tables = [self._side(side, rows, tallies) for side in sides or SIDES if self.sides[side]]
        ids = np.concatenate([t.ids for t in tables], axis=1)
        if not self.schema.numeric:
            return Table(ids)
        return Table(ids, np.concatenate([t.values for t in tables if t.values is not None], axis=1))

    def _side(self, side: Side, rows: Rows, tallies: Tallies) -> Table:
        known = self.tables.get(side)
        if known is None:
            return Table(*_joined([self._read(reader, rows, tallies) for reader in self.sides[side]]))
        key, *attributes = self.sides[side]
        ids, values = key.read(rows[key.given.column], tallies[key.field.name])
        who = ids[:, 0] - key.offset - 1  # the first field of a side names its entities in their order
        new = np.flatnonzero(who < 0)
        own = (ids[new], values[new])
        ids = known.ids[who]
        values = np.ones(ids.shape, np.float32) if known.values is None else known.values[who]
        if len(new):
            ids[new], values[new] = _joined([own, *_attributes(attributes, rows.take(pa.array(new)), tallies)])
        return Table(ids, values)

    def _read(self, reader: "_Reader", rows: Rows, tallies: Tallies) -> tuple[Array, Array]:
        if reader.field.name in self.unread and reader.given.column not in rows.schema.names:
            return reader.nothing(len(rows))
        return reader.read(rows[reader.given.column], tallies[reader.field.name])


def _attributes(readers: list["_Reader"], rows: Rows, tallies: Tallies) -> Iterator[tuple[Array, Array]]:
    """What rows of unknown users or items say of them."""
    for reader in readers:
        if reader.given.column in rows.schema.names:
            cells = rows[reader.given.column].dictionary_decode().dictionary_encode()  # without texts of other rows
            yield reader.read(cells, tallies[reader.field.name])
        else:
            yield reader.nothing(len(rows))


def _joined(fields: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    return np.concatenate([f[0] for f in fields], axis=1), np.concatenate([f[1] for f in fields], axis=1)


def other_spelling(text: str) -> str | None:
    """43 for 43.0, 43.0 for 43, None for what is no whole number."""
    whole = re.fullmatch(r"(-?[0-9]+)(\.0+)?", text)
    if whole is None:
        return None
    return whole[1] if whole[2] else f"{text}.0"


class _Reader:
    """Text of one column to the features of one field."""

    def __init__(self, field: Field, offset: int, given: FieldEncoding, keys: list[str]) -> None:
        self.field, self.offset, self.given = field, offset, given
        self.codes: dict[str | None, int] = {key: number for number, key in enumerate(keys, 1)}
        self.transform = transform_of(given)

    def known(self, texts: list[str | None]) -> list[bool]:
        """Whether there is something in a text, and nothing that is unseen."""
        try:
            made = self._texts(pa.array(texts, pa.string()))
        except DataError:  # no numbers, where the transform wants some
            return [False] * len(texts)
        return [bool(found) and all(part in self.codes for part in found) for found in self._parts(made)]

    def nothing(self, rows: int) -> tuple[Array, Array]:
        """The unknown feature."""
        shape = (rows, self.field.slots)
        return np.full(shape, self.offset, np.int32), np.ones(shape, np.float32)

    def read(self, column: Any, tally: Tally) -> tuple[Array, Array]:
        """Ids and values `[rows, slots]`; raises DataError where a number is wanted and there is none."""
        texts = self._texts(column.dictionary)
        count = len(texts)
        places = column.indices.fill_null(count).to_numpy(zero_copy_only=False)
        values = np.ones((len(places), self.field.slots), np.float32)
        missing = np.array([*(t is None for t in texts), True])
        unseen, dropped = np.zeros((2, count + 1), np.int64)
        if self.field.numeric:
            table = (~missing[:, None]).astype(np.int32)
            values[:, 0] = np.where(missing, 1, self._numbers(texts))[places]
        else:
            table = np.zeros((count + 1, self.field.slots), np.int32)
            whole = [None] * count if self.given.list_separator else list(map(self.codes.get, texts))
            table[:count, 0] = [code or 0 for code in whole]
            rest = [row for row, code in enumerate(whole) if code is None]  # none, several or unseen
            for row, found in zip(rest, self._parts([texts[row] for row in rest]), strict=True):
                codes = [self._code(part) for part in found]
                missing[row] = not found
                unseen[row], dropped[row] = codes.count(0), max(0, len(codes) - self.field.slots)
                table[row, : len(codes)] = codes[: self.field.slots]
        strange = []
        if unseen.any():
            strange = [t for t, n in zip(readable(column.dictionary).to_pylist(), unseen, strict=False) if n]
        tally.count(unseen[places], missing[places], dropped[places], strange)
        return (table + np.int32(self.offset))[places], values

    def _code(self, text: str) -> int:
        """0 if it is unseen. A whole number may be written as other programs write a column of it with gaps: 43.0."""
        code = self.codes.get(text)
        return self.codes.get(other_spelling(text), 0) if code is None else code

    def _texts(self, texts: Any) -> list[str | None]:
        """What the distinct texts stand for."""
        plain: list[str | None] = [None if t in self.given.missing else t for t in texts.to_pylist()]
        if self.transform is None:
            return plain
        made = self.transform(pa.array([t for t in plain if t is not None], pa.string()))
        rest = iter(made if isinstance(made, list) else made.to_pylist())
        return [None if t is None else next(rest) for t in plain]

    def _parts(self, texts: list[str | None]) -> Iterator[list[str]]:
        """The values in each cell, each once."""
        for text in texts:
            if text is None:
                yield []
            elif self.given.list_separator:
                yield split(text, self.given.list_separator)
            else:
                yield split(text, "")  # a list of one value stands for that value

    def _numbers(self, texts: list[str | None]) -> Array:
        """Scaled numbers of the texts, and of a missing one after them: narrowed to float32 last, as in preparation."""
        column = pa.array([*texts, None], pa.string()).dictionary_encode()
        values, bad = parse_numbers(column, self.given.decimal, self.given.thousands)
        if bad:
            shown = ", ".join(map(repr, bad[:SHOWN]))
            raise DataError(
                f"column {self.given.column!r} must hold finite numbers, {len(bad)} values are none: {shown}"
            )
        with np.errstate(over="ignore"):
            made = scaled(values, self.given.center, self.given.scale)
        if len(far := values[np.isfinite(values) & ~np.isfinite(made)]):
            raise DataError(f"column {self.given.column!r} must hold numbers like those of training, got {far[0]:g}")
        return made
