"""Vectors and sequences of a table, joined to the data set that preparation made of its other columns.

Sequences keep order and repeats; ids that are not in the vocabulary become its unknown one. Vectors are given, not
learned: they must be there, finite, and of one width.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from fmlab.data.dataset import Dataset, FieldEncoding, PreparationStep, Ragged
from fmlab.data.encoding.text_arrays import ArrowTexts
from fmlab.data.encoding.vocabulary import NpyAppender, Vocabulary, kept
from fmlab.data.raw.cells import parts, readable
from fmlab.data.schema import Array, Field, Side
from fmlab.errors import DataError, choices

log = logging.getLogger(__name__)
SHOWN = 3


@dataclass(frozen=True)
class AuxiliaryColumn:
    """A column that becomes a vector or a sequence field of its name.

    `vocabulary` of a sequence: the field whose features its ids are, or a name that sequences share; empty for one of
    its own. Cells are lists, or text that is split `within`.
    """

    name: str
    kind: Literal["vector", "sequence"]
    side: Side
    vocabulary: str = ""
    within: str = "|"


def with_auxiliary(
    dataset: Dataset, stream: Iterable[Any], columns: Sequence[AuxiliaryColumn], workspace: Path, min_count: int = 1
) -> Dataset:
    """The data set with these fields, of a `stream` of its rows in their order: batches of dictionary-encoded text.

    Values of a vocabulary that belongs to sequences alone are unknown if seen fewer than `min_count` times. Raises
    DataError for vectors that are missing, ragged or not finite, and for attributes with several values.
    """
    if not columns:
        return dataset
    vocabularies = {c.vocabulary or c.name: Vocabulary() for c in columns if c.kind == "sequence"}
    readers: list[_Vectors | _Sequences] = []
    for number, column in enumerate(columns):
        path = workspace / f"auxiliary-{number}"
        if column.kind == "vector":
            readers.append(_Vectors(dataset, column, path))
        else:
            readers.append(_Sequences(dataset, column, path, vocabularies[column.vocabulary or column.name]))
    start = 0
    for batch in stream:
        for reader in readers:
            reader.add(batch[reader.column.name], start)
        start += len(batch)
    for reader in readers:
        dataset = reader.joined(dataset, min_count)
    return dataset


class _Rows:
    """Which users, items or rows the rows of a table are."""

    def __init__(self, dataset: Dataset, column: AuxiliaryColumn) -> None:
        names = [f.name for f in (*dataset.schema.fields, *dataset.schema.auxiliary)]
        if column.name in names or column.name in ("user", "item"):
            raise DataError(f"field names must be unique, a {column.kind} must not be called {column.name!r}")
        self.column = column
        self.index = {"user": dataset.user, "item": dataset.item, "context": None}[column.side]
        if self.index is None and column.side != "context":
            raise DataError(
                f"{column.kind} {column.name!r} is of the {column.side}, and the data have no {column.side}"
            )
        self.names = dataset.keys.get(column.side)

    def of(self, start: int, count: int) -> Array:
        return np.arange(start, start + count) if self.index is None else np.asarray(self.index[start : start + count])

    def called(self, who: int) -> str:
        if self.index is None:
            return f"data row {who + 1}"
        return f"{self.column.side} {str(self.names[who]) if self.names is not None else who!r}"

    def refuse_several(self, who: int) -> DataError:
        side = self.column.side
        rule = f"column {self.column.name!r} must have one value for each {side}, {self.called(who)} has several"
        return DataError(f"{rule}; take it out of {side}_fields")


class _Vectors(_Rows):
    def __init__(self, dataset: Dataset, column: AuxiliaryColumn, path: Path) -> None:
        super().__init__(dataset, column)
        self.path, self.width = path.with_suffix(".npy"), 0
        self.file: NpyAppender | None = None
        self.count = dataset.entities(column.side)
        self.table: Array = np.zeros((0, 0), np.float32)
        self.seen = np.zeros(self.count, bool)

    def add(self, column: Any, start: int) -> None:
        found, there = vectors_of(column.dictionary, self.column.name, self.column.within, self.width)
        if not self.width and len(found):
            self.width = found.shape[1]
            if self.index is None:
                self.file = NpyAppender(self.path, np.float32, self.width)
            else:
                self.table = np.zeros((self.count, self.width), np.float32)
        places = column.indices.fill_null(len(there)).to_numpy(zero_copy_only=False)
        there = np.append(there, False)[places]
        who = self.of(start, len(column))
        if self.index is None:
            if not there.all():
                raise DataError(
                    f"column {self.column.name!r} must have a vector in every row, {self.called(int(who[~there][0]))} "
                    "has none"
                )
            assert self.file is not None
            self.file.append(found[places])
            return
        who, places = who[there], places[there]
        if not len(who):
            return
        new = ~self.seen[who]
        self.table[who[new]] = found[places[new]]
        self.seen[who] = True
        if (differ := (self.table[who] != found[places]).any(1)).any():
            raise self.refuse_several(int(who[np.argmax(differ)]))

    def joined(self, dataset: Dataset, min_count: int) -> Dataset:
        if not self.width:
            raise DataError(f"column {self.column.name!r} must hold vectors, it is empty")
        if self.index is None:
            assert self.file is not None
            return _with_field(dataset, self.column, self.file.close(), within=self.column.within)
        if missing := np.flatnonzero(~self.seen).tolist():
            raise _without_vectors(self.column.name, self.column.side, [self.called(n) for n in missing], self.count)
        return _with_field(dataset, self.column, _written(self.path, self.table), within=self.column.within)


class _Sequences(_Rows):
    def __init__(self, dataset: Dataset, column: AuxiliaryColumn, path: Path, vocabulary: Vocabulary) -> None:
        super().__init__(dataset, column)
        self.vocabulary, self.within = vocabulary, column.within
        self.ends = NpyAppender(path.with_suffix(".ends.npy"), np.int64)
        self.codes = NpyAppender(path.with_suffix(".codes.npy"), np.int32)
        self.ids = path.with_suffix(".ids.npy")
        self.total = 0
        self.cells: dict[int, str | None] = {}
        self.count = dataset.entities(column.side)

    def add(self, column: Any, start: int) -> None:
        texts = [*column.dictionary.to_pylist(), None]
        places = column.indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False)
        who = self.of(start, len(column))
        if self.index is None:
            self._write([texts[at] for at in places.tolist()])
            return
        for entity, at in zip(who.tolist(), places.tolist(), strict=True):
            if self.cells.setdefault(entity, texts[at]) != texts[at]:
                raise self.refuse_several(entity)

    def _write(self, cells: Sequence[str | None]) -> None:
        lists = [[] if cell is None else parts(cell, self.within) for cell in cells]
        flat = pa.array([part for values in lists for part in values], pa.string())
        self.codes.append(self.vocabulary.encode([flat]) if len(flat) else np.zeros(0, np.int32))
        ends = self.total + np.cumsum([len(values) for values in lists], dtype=np.int64)
        self.ends.append(ends)
        self.total = int(ends[-1]) if len(ends) else self.total

    def joined(self, dataset: Dataset, min_count: int) -> Dataset:
        if self.index is not None:
            self._write([self.cells.get(n) for n in range(self.count)])
        ends, codes, schema, name = self.ends.close(), self.codes.close(), dataset.schema, self.column.vocabulary
        at = schema.owner(Field(self.column.name, self.column.side, 0, sequence=True, vocabulary=name))
        if at is None:
            name = name or self.column.name
            new = kept(self.vocabulary.counts, min_count)
            keys = {n: _text(dataset, n) for n in dataset.keys}
            keys[name] = self.vocabulary.keys.filter(pa.array(new[1:] > 0))
            dataset = replace(dataset, keys=ArrowTexts(keys))
            size = len(keys[name]) + 1
        else:
            place = {key: n for n, key in enumerate(dataset.keys[schema.fields[at].name].tolist(), 1)}
            new = np.array([0, *(place.get(key, 0) for key in self.vocabulary.keys.to_pylist())], np.int32)
            new += np.int32(schema.offsets[at])
            size = 0
        ids = NpyAppender(self.ids, np.int32)
        for low in range(0, len(codes), 1 << 20):
            ids.append(new[codes[low : low + (1 << 20)]])
        made = _with_field(dataset, self.column, Ragged(ends, ids.close()), size=size, within=self.within)
        return _told(made, self.column.name, self.vocabulary, new, schema.fields[at].name if at is not None else "")


def _text(dataset: Dataset, name: str) -> Any:
    keys = dataset.keys
    return keys.column(name) if isinstance(keys, ArrowTexts) else pa.array(keys[name].tolist(), pa.string())


def _told(made: Dataset, name: str, vocabulary: Vocabulary, new: Array, owner: str) -> Dataset:
    """With a step that says how many ids of a sequence the shared vocabulary lacks."""
    lacking = np.flatnonzero(new[1:] == new[0]) if owner else np.zeros(0, np.int64)
    if not len(lacking):
        return made
    share = vocabulary.counts[1:][lacking].sum() / max(1, vocabulary.counts[1:].sum())
    schema = made.schema
    rule = f"{len(lacking):,} ids of {name} ({share:.1%} of its entries) are no values of {owner}: unknown"
    step = PreparationStep(rule, made.rows, schema.n_users, schema.n_items, schema.n_features)
    return replace(made, steps=(*made.steps, step))


def _with_field(dataset: Dataset, column: AuxiliaryColumn, made: Any, *, size: int = 0, within: str = "|") -> Dataset:
    """The data set with one field more."""
    if column.kind == "vector":
        field = Field(column.name, column.side, 0, width=int(made.shape[1]))
        more: dict[str, Any] = {"vectors": {**dataset.vectors, column.name: made}}
    else:
        vocabulary = column.vocabulary if column.vocabulary != column.name else ""
        field = Field(column.name, column.side, size, sequence=True, vocabulary=vocabulary)
        more = {"sequences": {**dataset.sequences, column.name: made}}
    schema = replace(dataset.schema, auxiliary=(*dataset.schema.auxiliary, field))
    given = FieldEncoding(column.name, within=within)
    return replace(dataset, schema=schema, inputs={**dataset.inputs, column.name: given}, **more)


# --------------------------------------------------------------------------------------- vectors by id


def with_vectors(
    dataset: Dataset, name: str, side: Side, keys: Iterable[str], vectors: Any, workspace: Path
) -> Dataset:
    """The data set with pretrained vectors of its users or items, `vectors[n, width]` of the ids `keys[n]`.

    They are kept as a memory map in `workspace`. Ids that are not in the data are left out, and counted. Raises
    DataError where vectors are ragged or not finite, an id is there twice, or a user or an item has none.
    """
    column = AuxiliaryColumn(name, "vector", side)
    rows = _Rows(dataset, column)
    if side == "context" or rows.names is None:
        raise DataError(f"vectors by id are of users or items whose ids are known, {name!r} is of the {side}")
    try:
        array = np.asarray(vectors)
        numbers = array.dtype.kind in "fiu" and array.ndim == 2 and array.shape[1] > 0
    except ValueError:  # NumPy's word for ragged lists
        numbers = False
    if not numbers:
        raise DataError(f"vectors {name!r} must be numbers [ids, width], all of one width")
    ids = [str(key) for key in keys]
    if len(ids) != len(array):
        raise DataError(f"vectors {name!r} need one id each, got {len(ids):,} ids for {len(array):,} vectors")
    place = {key: n for n, key in enumerate(ids)}
    if len(place) < len(ids):
        twice = next(key for n, key in enumerate(ids) if place[key] != n)
        raise DataError(f"vectors {name!r} need different ids, {twice!r} is there twice")
    at = np.array([place.get(str(key), -1) for key in rows.names.tolist()], np.int64)
    if missing := np.flatnonzero(at < 0).tolist():
        raise _without_vectors(name, side, [rows.called(n) for n in missing], len(at), f"; its ids are {ids[:SHOWN]}")
    with np.errstate(over="ignore"):
        made = np.ascontiguousarray(array[at], np.float32)
    if wrong := np.flatnonzero(~np.isfinite(made).all(1)).tolist():
        raise DataError(f"vectors {name!r} must be finite numbers, that of {rows.called(wrong[0])} is not")
    if others := len(ids) - len(at):
        log.info("%s of the %s vectors %s are of no %s in the data", f"{others:,}", f"{len(ids):,}", name, side)
    return _with_field(dataset, column, _written(workspace / f"vectors.{len(dataset.vectors)}.npy", made), within="|")


def _written(path: Path, array: Array) -> Array:
    file = NpyAppender(path, np.float32, array.shape[1])
    file.append(array)
    return file.close()


def _without_vectors(name: str, side: str, missing: Sequence[str], count: int, more: str = "") -> DataError:
    first = ", ".join(missing[:SHOWN])
    rule = f"every {side} must have a vector {name!r}, {len(missing):,} of {count:,} have none, the first are {first}"
    return DataError(f"{rule}{more}; give them one, of zeros perhaps, or leave their rows out")


def read_vectors(path: Path) -> tuple[list[str], Any]:
    """Ids and vectors of a file; raises DataError for another form.

    `.parquet`: a column of ids and one of lists. `.npz`: the arrays `ids` and `vectors`. `.npy`: vectors whose ids are
    the lines of a text file beside it, `<name>.ids.txt`, or the numbers of the rows, from 0, where there is none.
    """
    suffix = path.suffix.lower()
    if suffix not in (".parquet", ".npz", ".npy"):
        raise DataError(f"vectors are read from .parquet, .npz and .npy, got {path}")
    try:
        if suffix == ".parquet":
            return _of_parquet(path)
        loaded = np.load(path, allow_pickle=False, mmap_mode="r" if suffix == ".npy" else None)
        if suffix == ".npz":
            if missing := {"ids", "vectors"} - set(loaded.files):
                raise DataError(f"{path} must hold the arrays ids and vectors, it has no {', '.join(sorted(missing))}")
            return [str(key) for key in loaded["ids"].tolist()], loaded["vectors"]
        names = path.with_name(f"{path.stem}.ids.txt")
        if names.is_file():
            return names.read_text(encoding="utf-8").splitlines(), loaded
        return [str(n) for n in range(len(loaded))], loaded
    except (ValueError, OSError, TypeError) as error:
        raise DataError(f"{path} must hold vectors of numbers: {error}") from error


def _of_parquet(path: Path) -> tuple[list[str], Any]:
    from pyarrow import parquet

    from fmlab.data.raw.typed_columns import is_list, texts

    try:
        table = parquet.read_table(path).combine_chunks()
    except pa.ArrowException as error:
        raise DataError(f"{path} is no Parquet file, or it is damaged: {error}") from error
    lists = [n for n in table.column_names if is_list(table.schema.field(n).type)]
    others = [n for n in table.column_names if n not in lists]
    if len(lists) != 1 or len(others) != 1:
        raise DataError(f"{path} must have a column of ids and one of lists, its columns are {table.column_names}")
    ids = pa.chunked_array(table[others[0]]).combine_chunks()
    return texts(path, others[0], ids).to_pylist(), table[lists[0]].to_pylist()


# ------------------------------------------------------------------------------------------- of cells


def vectors_of(texts: Any, name: str, within: str, width: int = 0) -> tuple[Array, Array]:
    """Vectors float32[n, width] of the cells `texts[n]`, and which cells hold one; raises DataError.

    `width` 0 is that of the first.
    """
    cells = [None if t is None else parts(t, within) for t in texts.to_pylist()]
    width = width or next((len(c) for c in cells if c), 0)
    made, there = np.zeros((len(cells), width), np.float32), np.array([bool(c) for c in cells], bool)
    for n, cell in enumerate(cells):
        if not cell:
            continue
        shown = readable(texts.slice(n, 1))[0].as_py()[:40]
        if len(cell) != width:
            rule = f"vectors of column {name!r} must be of one width, {width} (a missing value or NaN counts for none)"
            raise DataError(f"{rule}; got {len(cell)} in {shown!r}")
        try:
            made[n] = cell
        except ValueError as error:
            raise DataError(f"vectors of column {name!r} must be numbers, got {shown!r}") from error
        if not np.isfinite(made[n]).all():
            raise DataError(f"vectors of column {name!r} must be finite numbers, got {shown!r}")
    return made, there


def sequences_of(texts: Any, within: str, codes: Mapping[str, int], unknown: int) -> tuple[Ragged, Array]:
    """Ids of the cells `texts[n]`, and how many of each are unknown."""
    lists = [[] if t is None else parts(t, within) for t in texts.to_pylist()]
    ids = [[codes.get(part, unknown) for part in cell] for cell in lists]
    return Ragged.of(ids), np.array([sum(part not in codes for part in cell) for cell in lists], np.int64)


def auxiliary_columns(
    names: Iterable[str], sequences: Mapping[str, str], vectors: Iterable[str], sides: Mapping[str, Side], within: str
) -> list[AuxiliaryColumn]:
    """The plan of columns; raises DataError for one that is not among `names`."""
    made = [AuxiliaryColumn(n, "vector", sides.get(n, "context"), within=within) for n in vectors]
    made += [AuxiliaryColumn(n, "sequence", sides.get(n, "context"), v, within) for n, v in sequences.items()]
    known = list(names)
    for column in made:
        if column.name not in known:
            raise DataError(f"the table has no column {column.name!r}; {choices(column.name, known)}")
    return made
