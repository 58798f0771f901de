"""Vectors of users, items or rows: given, not learned. They must be there, finite, and of one width."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fmlab.data.dataset import Dataset
from fmlab.data.encoding.auxiliary_field import AuxiliaryColumn, EntityRows, with_field
from fmlab.data.encoding.vocabulary import NpyAppender
from fmlab.data.raw.cells import ordered, readable
from fmlab.data.schema import Array, Side
from fmlab.errors import DataError

log = logging.getLogger(__name__)
SHOWN = 3  # ids in a message


class VectorReader(EntityRows):
    """Reads the vectors of one column, batch by batch, into a file at `path`."""

    def __init__(self, dataset: Dataset, column: AuxiliaryColumn, path: Path) -> None:
        super().__init__(dataset, column)
        self.path, self.width = path.with_suffix(".npy"), 0
        self.file: NpyAppender | None = None
        self.count = dataset.entities(column.side)
        self.table: Array = np.zeros((0, 0), np.float32)
        self.seen = np.zeros(self.count, bool)

    def add(self, column: Any, start: int) -> None:
        """Read a batch of dictionary-encoded text, whose first row has the number `start`; raises DataError."""
        found, there = vectors_of(column.dictionary, self.column.name, self.column.list_separator, self.width)
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

    def joined(self, dataset: Dataset) -> Dataset:
        """The data set with this field; raises DataError where a user or an item has no vector."""
        if not self.width:
            raise DataError(f"column {self.column.name!r} must hold vectors, it is empty")
        if self.index is None:
            assert self.file is not None
            return with_field(dataset, self.column, self.file.close())
        if missing := np.flatnonzero(~self.seen).tolist():
            raise _without_vectors(self.column.name, self.column.side, [self.called(n) for n in missing], self.count)
        return with_field(dataset, self.column, _written(self.path, self.table))


def vectors_of(texts: Any, name: str, list_separator: str, width: int = 0) -> tuple[Array, Array]:
    """Vectors float32[n, width] of the cells `texts[n]`, and which cells hold one; raises DataError.

    `width` 0 is that of the first.
    """
    cells = [None if t is None else ordered(t, list_separator) for t in texts.to_pylist()]
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


def with_vectors(
    dataset: Dataset, name: str, side: Side, keys: Iterable[str], vectors: Any, workspace: Path
) -> Dataset:
    """The data set with pretrained vectors of its users or items, `vectors[n, width]` of the ids `keys[n]`.

    They are kept as a memory map in `workspace`. Ids that are not in the data are left out, and counted. Raises
    DataError where vectors are ragged or not finite, an id is there twice, or a user or an item has none.
    """
    column = AuxiliaryColumn(name, "vector", side)
    rows = EntityRows(dataset, column)
    if side == "context" or rows.names is None:
        raise DataError(f"vectors by id are of users or items whose ids are known, {name!r} is of the {side}")
    try:
        array = np.asarray(vectors)
        numbers = array.dtype.kind in "fiu" and array.ndim == 2 and array.shape[1] > 0
    except ValueError:  # as NumPy reports ragged lists
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
    return with_field(dataset, column, _written(workspace / f"vectors.{len(dataset.vectors)}.npy", made))


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
