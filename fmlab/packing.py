"""A data set as named arrays and plain containers, and back. Nothing is pickled."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fmlab.data import Array, Dataset, Input, Rule, Schema, Step, Table, Truth
from fmlab.errors import DataError
from fmlab.moments import float_kind

COLUMNS: dict[str, DTypeLike] = {
    "user": np.int32,
    "item": np.int32,
    "time": np.int64,
    "split": np.int8,
}
TABLES = ("users", "items", "context")
TRUTH = ("user", "item", "user_bias", "item_bias")


def pack(dataset: Dataset) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays by file stem, and what is left as plain containers."""
    arrays: dict[str, Array] = {}
    for name, kind in COLUMNS.items():
        _put(arrays, name, getattr(dataset, name), kind)
    if dataset.label is not None:
        _put(arrays, "label", dataset.label, float_kind(np.asanyarray(dataset.label)))
    for name in TABLES:
        if (table := getattr(dataset, name)) is not None:
            _put(arrays, f"{name}.ids", table.ids, np.int32)
            _put(arrays, f"{name}.values", table.values, np.float32)
    if dataset.truth is not None:
        for name in TRUTH:
            _put(arrays, f"truth.{name}", getattr(dataset.truth, name), np.float32)
    for number, name in enumerate(dataset.keys):
        texts = dataset.keys.column(name) if isinstance(dataset.keys, Texts) else dataset.keys[name]
        arrays[f"keys.{number}.ends"], arrays[f"keys.{number}.text"] = encode(texts)
    plain = {
        "schema": dataset.schema.to_dict(),
        "rows": int(dataset.rows),
        "rule": asdict(dataset.rule),
        "steps": [asdict(s) for s in dataset.steps],
        "keys": list(dataset.keys),
        "inputs": {name: asdict(given) for name, given in dataset.inputs.items()},
        "published": dict(dataset.published),
    }
    return arrays, plain


def _put(arrays: dict[str, Array], name: str, array: Array | None, kind: DTypeLike) -> None:
    if array is not None:
        arrays[name] = np.asanyarray(array, kind)  # asanyarray: a memory map stays one


def unpack(name: str, folder: Path, plain: Mapping[str, Any], fingerprint: str) -> Dataset:
    """The data set whose arrays `pack` gave and that lie in `folder`, memory-mapped."""
    load = _Folder(folder)
    truth = None
    if load("truth.user") is not None:
        truth = Truth(*(np.asarray(load(f"truth.{part}")) for part in TRUTH))
    return Dataset(
        name=name,
        schema=Schema.from_dict(plain["schema"]),
        rows=plain["rows"],
        user=load("user"),
        item=load("item"),
        users=load.table("users"),
        items=load.table("items"),
        context=load.table("context"),
        label=load("label"),
        time=load("time"),
        split=load("split"),
        rule=Rule(**plain["rule"]),
        steps=tuple(Step(**s) for s in plain["steps"]),
        keys=Keys(folder, plain["keys"]),
        inputs={name: Input.from_dict(given) for name, given in plain["inputs"].items()},
        published=dict(plain["published"]),
        truth=truth,
        fingerprint=fingerprint,
    )


class _Folder:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, stem: str) -> Array | None:
        path = self.folder / f"{stem}.npy"
        return np.load(path, mmap_mode="r", allow_pickle=False) if path.exists() else None

    def table(self, name: str) -> Table | None:
        ids = self(f"{name}.ids")
        return None if ids is None else Table(ids, self(f"{name}.values"))


class Keys(Mapping[str, Array]):
    """The raw values of every field, read from disk when they are asked for: models do not need them."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self._load, self._names = _Folder(folder), names

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


class Texts(Mapping[str, Array]):
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
