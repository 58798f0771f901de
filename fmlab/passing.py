"""Columns that are passed on from one table to another, whatever they hold: what is no text is written as JSON."""

import json
from typing import Any

import pyarrow as pa


def passed_on(column: Any) -> pa.Array:
    """A column that is passed on, as dictionary-encoded text."""
    if pa.types.is_dictionary(column.type) and pa.types.is_string(column.type.value_type):
        return column
    try:
        if pa.types.is_nested(column.type):
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
