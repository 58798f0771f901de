"""Growing vocabularies and growing .npy files: what a streaming encoder remembers and what it lets go."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import DTypeLike

from fmlab.data import Array

_HEADER = 128


class Vocabulary:
    """Values of one column in the order of their first appearance, with counts; code 0 is a missing value."""

    def __init__(self) -> None:
        self.keys = pa.array([], pa.string())
        self.counts = np.zeros(1, np.int64)

    def __len__(self) -> int:
        return len(self.keys)

    def encode(self, columns: Sequence[pa.DictionaryArray]) -> list[Array]:
        """Codes int32[n] of some dictionary-encoded columns one after the other; unknown values are added.

        It costs a hash of every known value and every dictionary: call it for as many columns as memory allows.
        """
        every = [self.keys, *(c.dictionary for c in columns)]
        ranges = [pa.DictionaryArray.from_arrays(pa.array(np.arange(len(d), dtype=np.int32)), d) for d in every]
        merged = pa.chunked_array(ranges).unify_dictionaries()  # keeps the order of first appearance
        self.keys = merged.chunk(0).dictionary
        counts = np.zeros(len(self.keys) + 1, np.int64)
        counts[: len(self.counts)] = self.counts
        codes = []
        for column, local in zip(columns, merged.chunks[1:], strict=True):
            table = np.append(local.indices.to_numpy() + np.int32(1), np.int32(0))
            places = _places(column, len(table) - 1)
            counts[table] += np.bincount(places, minlength=len(table))  # its entries are distinct
            codes.append(table.take(places))
        self.counts = counts
        return codes


class Growing:
    """An .npy file that rows are appended to. Nothing is mapped while it grows: a full disk is an error, no signal."""

    def __init__(self, path: Path, kind: DTypeLike, columns: int | None = None) -> None:
        """One-dimensional if `columns` is None."""
        self.path, self.kind, self.columns, self.rows = path, np.dtype(kind), columns, 0
        self._file = path.open("wb")
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


def numbers(column: pa.DictionaryArray, decimal: str = ".") -> tuple[Array, list[str]]:
    """Numbers float64[n] of a dictionary-encoded column, and its distinct texts that are none; missing is NaN."""
    texts = column.dictionary if decimal == "." else pc.replace_substring(column.dictionary, decimal, ".")
    try:
        values = texts.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        values = np.array([_number(text) for text in texts.to_pylist()], np.float64)
    bad = column.dictionary.filter(pa.array(~np.isfinite(values))).to_pylist()
    return np.append(values, np.nan)[_places(column, len(values))], bad


def _number(text: str) -> float:
    try:
        return float("nan" if "_" in text else text)  # Python alone reads 1_000 as a number
    except ValueError:
        return float("nan")


def _places(column: pa.DictionaryArray, missing: int) -> Array:
    """What NumPy takes as indices without a copy."""
    where = column.indices
    return (where.fill_null(missing) if where.null_count else where).to_numpy().astype(np.intp)


def kept(counts: Sequence[int] | Array, min_count: int) -> Array:
    """New codes int32 by old code: values seen at least `min_count` times keep their order, the others become 0."""
    keep = np.asarray(counts) >= max(min_count, 1)
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)
