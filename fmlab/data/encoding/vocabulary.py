"""Vocabularies that grow while a table is read, and the files that its codes and numbers are appended to."""

import weakref
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike

from fmlab.data.schema import Array

_HEADER = 128
_GOLDEN = 0x9E3779B97F4A7C15


class Vocabulary:
    """Values of one column in the order of their first appearance, with counts; code 0 is a missing value."""

    def __init__(self) -> None:
        self.keys = pa.array([], pa.string())
        self.counts = np.zeros(1, np.int64)

    def __len__(self) -> int:
        return len(self.keys)

    def encode(self, columns: Sequence[pa.Array]) -> Array:
        """Codes of some columns, dictionary-encoded or plain text, one after the other; unknown values are added.

        They come in the smallest unsigned type that holds them. It costs a hash of every known value and of every
        dictionary (or of every text): call it for as many columns as memory allows.
        """
        if all(pa.types.is_dictionary(c.type) for c in columns):
            return self._unified(columns)
        return self._hashed(columns)

    def _unified(self, columns: Sequence[pa.DictionaryArray]) -> Array:
        """Codes of dictionary-encoded columns."""
        every = [self.keys, *(c.dictionary for c in columns)]
        ranges = [pa.DictionaryArray.from_arrays(pa.array(np.arange(len(d), dtype=np.int32)), d) for d in every]
        merged = pa.chunked_array(ranges).unify_dictionaries()  # keeps the order of first appearance
        self._grow(merged.chunk(0).dictionary)
        codes, at = np.empty(sum(map(len, columns)), np.min_scalar_type(len(self.keys))), 0
        for column, local in zip(columns, merged.chunks[1:], strict=True):
            table = np.append(local.indices.to_numpy() + np.int32(1), np.int32(0))
            places = value_places(column, len(table) - 1)
            self.counts[table] += np.bincount(places, minlength=len(table))  # its entries are distinct
            # All places are there; the default mode would look, and copy.
            table.astype(codes.dtype).take(places, out=codes[at : at + len(places)], mode="clip")
            at += len(places)
        return codes

    def _hashed(self, columns: Sequence[pa.Array]) -> Array:
        """Codes of plain text. It is hashed once, instead of once for its batch and once among the known values."""
        known = [self.keys] if len(self.keys) else []  # empty chunks would be left out of the result
        merged = pa.chunked_array([*known, *(c.cast(pa.string()) for c in columns)]).dictionary_encode()
        if merged.num_chunks:
            self._grow(merged.chunk(0).dictionary)  # that of all chunks
        codes = np.concatenate([np.zeros(0, np.intp), *(value_places(c, -1) for c in merged.chunks[len(known) :])])
        codes += 1
        self.counts += np.bincount(codes, minlength=len(self.counts))
        return codes.astype(np.min_scalar_type(len(self.keys)))

    def _grow(self, keys: pa.Array) -> None:
        self.keys = keys
        self.counts = np.append(self.counts, np.zeros(len(keys) + 1 - len(self.counts), np.int64))


def _written_by(owner: object, path: Path) -> BufferedWriter:
    """A new file that is closed with its owner: preparation that fails leaves owners whose `close` nobody calls."""
    file = path.open("wb")
    weakref.finalize(owner, file.close)
    return file


class CodeStore:
    """Columns of codes on disk, block by block of rows. In a block a column is contiguous, and as narrow as it came."""

    def __init__(self, path: Path, columns: int) -> None:
        """An empty table of so many columns."""
        self.path, self.columns, self.ends = path, columns, [0]
        self._blocks: list[list[tuple[int, np.dtype[Any]]]] = []  # of each column, where it begins and its type
        self._file, self._size = _written_by(self, path), 0
        self._bytes = np.zeros(0, np.uint8)

    def append(self, columns: Sequence[Array], rows: int) -> None:
        """Add a block of so many rows: columns of unsigned integers."""
        places = []
        for column in columns:
            places.append((self._size, column.dtype))
            self._size += self._file.write(column.data)
            self._size += self._file.write(bytes(-self._size % 8))  # so that all are aligned
        self._blocks.append(places)
        self.ends.append(self.ends[-1] + rows)

    def close(self) -> None:
        """Finish the file; from now on it can be read."""
        self._file.close()
        if self._size:
            self._bytes = np.memmap(self.path, np.uint8, "r")

    def read(self, columns: Sequence[int], start: int, stop: int) -> Array:
        """int32[columns, rows] of a range of rows."""
        codes = np.empty((len(columns), max(min(stop, self.ends[-1]) - start, 0)), np.int32)
        for block in range(bisect_right(self.ends, start) - 1, bisect_left(self.ends, start + codes.shape[1])):
            first, last = max(start, self.ends[block]), min(stop, self.ends[block + 1])
            for row, column in zip(codes, columns, strict=True):
                place, kind = self._blocks[block][column]
                begin, end = (place + kind.itemsize * (n - self.ends[block]) for n in (first, last))
                row[first - start : last - start] = self._bytes[begin:end].view(kind)
        return codes

    def column(self, at: int) -> "Column":
        """One column, read where it is sliced."""
        return Column(self, at)


@dataclass(frozen=True)
class Column:
    """A column of codes that is sliced like an array."""

    codes: CodeStore
    at: int

    def __len__(self) -> int:
        """The number of rows."""
        return self.codes.ends[-1]

    def __getitem__(self, rows: slice) -> Array:
        """int32 of a range of rows."""
        start, stop, _ = rows.indices(len(self))
        return self.codes.read([self.at], start, stop)[0]


class NumberCodes:
    """A column of float64[rows, columns] as int32 hashes: different numbers have equal ones with a chance of 2^-32."""

    def __init__(self, numbers: Array, at: int) -> None:
        """Nothing is read before it is sliced."""
        self.numbers, self.at = numbers, at

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.numbers)

    def __getitem__(self, rows: slice, /) -> Array:
        """int32 of a range of rows."""
        bits = np.array(self.numbers[rows, self.at] + 0.0).view(np.uint64)  # -0.0 becomes 0.0
        return ((bits * np.uint64(_GOLDEN)) >> np.uint64(32)).astype(np.uint32).view(np.int32)


class NpyAppender:
    """An .npy file that rows are appended to. Nothing is mapped while it grows: a full disk is an error, no signal."""

    def __init__(self, path: Path, kind: DTypeLike, columns: int | None = None) -> None:
        """One-dimensional if `columns` is None."""
        self.path, self.kind, self.columns, self.rows = path, np.dtype(kind), columns, 0
        self._file = _written_by(self, path)
        self._file.write(bytes(_HEADER))

    def append(self, array: Array) -> None:
        """Add rows."""
        self._file.write(np.ascontiguousarray(array, self.kind).data)
        self.rows += len(array)

    def close(self) -> Array:
        """Finish the file; returns a memory map of it."""
        shape = (self.rows,) if self.columns is None else (self.rows, self.columns)
        header = f"{{'descr': {self.kind.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
        with self._file as file:
            file.seek(0)
            file.write(b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little"))
            file.write(header.encode().ljust(_HEADER - 11) + b"\n")
        return np.load(self.path, mmap_mode="r", allow_pickle=False)


def value_places(column: pa.DictionaryArray, missing: int) -> Array:
    """Indices of a dictionary-encoded column as int64[n], `missing` where there is no value."""
    where = column.indices
    return (where.fill_null(missing) if where.null_count else where).to_numpy().astype(np.intp)


def kept(counts: Sequence[int] | Array, min_count: int) -> Array:
    """New codes int32 by old code: values seen at least `min_count` times keep their order, the others become 0."""
    keep = np.asarray(counts) >= max(min_count, 1)
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)
