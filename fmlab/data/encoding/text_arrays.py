"""Texts as two arrays: where each ends, and their bytes one after the other; decoded when asked for."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from fmlab.data.dataset import Table
from fmlab.data.schema import Array
from fmlab.errors import DataError


class ArrayFolder:
    """The .npy files of a folder by name, memory-mapped when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, stem: str) -> Array | None:
        path = self.folder / f"{stem}.npy"
        return np.load(path, mmap_mode="r", allow_pickle=False) if path.exists() else None

    def table(self, name: str) -> Table | None:
        ids = self(f"{name}.ids")
        return None if ids is None else Table(ids, self(f"{name}.values"))


class StoredTexts(Mapping[str, Array]):
    """The raw values of every field, read from disk when they are asked for: models do not need them."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self._load, self._names = ArrayFolder(folder), names

    def __getitem__(self, name: str) -> Array:
        try:
            number = self._names.index(name)
        except ValueError:
            raise KeyError(name) from None
        ends, text = self._load(f"keys.{number}.ends"), self._load(f"keys.{number}.text")
        assert ends is not None
        assert text is not None
        return decode(ends, text)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class ArrowTexts(Mapping[str, Array]):
    """Raw values as Arrow holds them; an object for each is made where it is asked for: there may be millions."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        """A `pyarrow.StringArray` for each name."""
        self.column = dict(columns).__getitem__
        self._names = list(columns)

    def __getitem__(self, name: str) -> Array:
        return self.column(name).to_numpy(zero_copy_only=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def encode(texts: Any) -> tuple[Array, Array]:
    """Texts as (end of each in bytes int64[n], utf-8 uint8[bytes]): text `i` lies between the ends `i - 1` and `i`.

    `texts` are an array of NumPy or Arrow.
    """
    import pyarrow as pa

    try:
        if isinstance(texts, pa.Array):
            column = pa.concat_arrays([texts.cast(pa.large_string())])  # a slice begins at its parent's buffers
        else:
            column = pa.array(texts if texts.dtype == object else texts.tolist(), pa.large_string())
    except (pa.ArrowTypeError, pa.ArrowInvalid, UnicodeEncodeError) as error:
        raise DataError(f"keys must be text that utf-8 can hold: {error}") from error
    if column.null_count:
        raise DataError("keys must be text, got None")
    _, ends, data = column.buffers()
    text = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    places = np.frombuffer(ends, np.int64)[: len(column) + 1]
    return places[1:].copy(), text[: places[-1]].copy()


def decode(ends: Array, text: Array) -> Array:
    """Inverse of `encode`, as an array of variable-width strings."""
    whole, places = text.tobytes(), [0, *ends.tolist()]
    parts = [whole[a:b].decode() for a, b in pairwise(places)]
    return np.array(parts, dtype=np.dtypes.StringDType())
