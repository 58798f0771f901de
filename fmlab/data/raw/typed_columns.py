"""Columns of a format that has types as text, read with what they mean, or refused by name."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fmlab.data.raw.cells import of_lists
from fmlab.errors import DataError

READ = "text, numbers, booleans, dates and times are read, and lists of them"
NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}


def is_list(kind: Any) -> bool:
    """Whether cells of this type hold several values."""
    kind = _storage(kind)
    checks = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(kind) for check in (*checks, pa.types.is_list_view, pa.types.is_large_list_view))


def is_empty(kind: Any) -> bool:
    """Whether no cell of this type holds anything."""
    return bool(pa.types.is_null(kind))


def unreadable(kind: Any) -> bool:
    """Whether values of this type are neither scalars nor lists of scalars."""
    kind = _storage(kind)
    if pa.types.is_dictionary(kind):
        return pa.types.is_nested(kind.value_type)
    if is_list(kind):
        inner = _storage(kind.value_type)
        return bool(pa.types.is_nested(inner))
    return bool(pa.types.is_nested(kind) or pa.types.is_interval(kind))


def refusal(path: Path, name: str, kind: Any) -> DataError:
    """The error for a column that cannot be read."""
    return DataError(f"column {name!r} of {path} holds {kind}: {READ}; drop_columns=[{name}] leaves the column out")


def texts(path: Path, name: str, column: Any) -> pa.Array:
    """The strings of a column; NaN, and a list without a value, are missing. Raises DataError for an unreadable one."""
    if unreadable(column.type):
        raise refusal(path, name, column.type)
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    try:
        if pa.types.is_dictionary(column.type):
            return texts(path, name, column.dictionary).take(column.indices)
        if is_list(column.type):
            lists = column.cast(pa.list_(column.type.value_type))
            counts = pc.fill_null(pc.list_value_length(lists), 0)
            return of_lists(counts, texts(path, name, pc.list_flatten(lists)))
        return _plain(column)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"column {name!r} of {path} holds {column.type} that is no text: {error}; {READ}; "
            f"drop_columns=[{name}] leaves the column out"
        ) from error


def without_empty(column: Any) -> Any:
    """Texts, the empty ones missing: as everywhere, a cell without text holds nothing."""
    empty = pc.equal(pc.binary_length(column), 0)
    return pc.if_else(empty, pa.scalar(None, column.type), column) if pc.any(empty).as_py() else column


def passed(column: Any) -> pa.Array:
    """A column that is passed on whatever it holds, as dictionary-encoded text: what is no text is written as JSON."""
    if pa.types.is_dictionary(column.type) and pa.types.is_string(column.type.value_type):
        return column
    try:
        if is_list(column.type) or unreadable(column.type):
            raise pa.ArrowInvalid("text is plain")
        return column.cast(pa.string()).dictionary_encode()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([as_json(value) for value in column.to_pylist()], pa.string()).dictionary_encode()


def as_json(value: Any) -> str | None:
    """Any value as the text of a cell: text as it is, the rest as JSON; bytes as hexadecimal digits."""
    if value is None or isinstance(value, str):
        text = value or None
    else:
        text = json.dumps(value, ensure_ascii=False, default=lambda v: v.hex() if isinstance(v, bytes) else str(v))
    return None if text is None else text.encode("utf-8", "replace").decode()  # a lone surrogate is no text


def _plain(column: Any) -> pa.Array:
    """Values that are no lists, as text."""
    kind = column.type
    if pa.types.is_floating(kind):
        wide = column.cast(pa.float32()) if pa.types.is_float16(kind) else column
        return pc.if_else(pc.is_nan(wide), pa.scalar(None, pa.string()), wide.cast(pa.string()))
    if pa.types.is_duration(kind):  # in seconds, whatever its unit is
        wide = column.cast(pa.int64()).cast(pa.float64(), safe=False)
        return pc.divide(wide, 1e9 / NANOSECONDS[kind.unit]).cast(pa.string())
    if pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind):
        column = column.cast(pa.binary())
    return without_empty(column.cast(pa.string()))


def _storage(kind: Any) -> Any:
    return kind.storage_type if isinstance(kind, pa.ExtensionType) else kind
