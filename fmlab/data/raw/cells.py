"""Cells of several values as text: what a list of another format becomes, and how a cell is split into its values.

A list, as JSON and Parquet have them, differs from text by its first character. Its values are kept apart by a
character that they do not hold, so that none is ever split: `["R&B|Soul", "Pop"]` stays two values. Plain text is
split at a separator that the user chose.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

MARK = "\x1f"  # the unit separator of ASCII: begins a list, and parts its values
ESCAPE = "\x1a"
_CODES = ((ESCAPE, f"{ESCAPE}0"), (MARK, f"{ESCAPE}1"))


def joined(values: Sequence[str | None]) -> str | None:
    """The cell of a list; values that are empty or None are left out, and a list of nothing is None."""
    there = [value for value in values if value]
    for plain, code in _CODES:
        if any(plain in value for value in there):
            there = [value.replace(plain, code) for value in there]
    return MARK + MARK.join(there) if there else None


def parts(cell: str, separator: str) -> list[str]:
    """The values of a cell in their order, repeats kept: those of a list, or of text that is split at `separator`."""
    if not cell.startswith(MARK):
        return [value for value in (cell.split(separator) if separator else (cell,)) if value]
    values = cell[1:].split(MARK)
    if ESCAPE in cell:
        for plain, code in reversed(_CODES):
            values = [value.replace(code, plain) for value in values]
    return values


def ordered(cell: str, separator: str) -> list[str]:
    """The values of a cell of a vector or a sequence: those of a list, of a JSON array of scalars, or of text that
    is split at `separator`."""
    if cell.startswith("[") and cell.endswith("]"):
        try:
            found = json.loads(cell, parse_int=str, parse_float=str)
        except (ValueError, RecursionError):
            found = [[]]
        if not any(isinstance(value, list | dict | bool) for value in found):
            return [str(value) for value in found if value is not None and value != ""]
    return parts(cell, separator)


def split(cell: str, separator: str) -> list[str]:
    """The values of a cell, each once, in their order."""
    return list(dict.fromkeys(parts(cell, separator)))


def shown(cell: str, separator: str = "|") -> str:
    """A cell as people read it."""
    return separator.join(split(cell, "")) if cell.startswith(MARK) else cell


def readable(texts: Any) -> Any:
    """A string array with its lists as people read them."""
    if not pc.any(pc.starts_with(texts, MARK)).as_py():
        return texts
    return pa.array([None if t is None else shown(t) for t in texts.to_pylist()], pa.string())


def alone(texts: Iterable[str]) -> tuple[str, ...]:
    """These texts, and the lists that hold one of them alone."""
    plain = tuple(texts)
    return (*plain, *(MARK + text for text in plain))


def of_lists(counts: Any, values: Any) -> pa.Array:
    """Cells of lists that hold so many values each; `values` are the strings of all, one list after the other."""
    there = pc.fill_null(pc.not_equal(values, ""), False)
    for plain, code in _CODES:
        if pc.any(pc.match_substring(values, plain)).as_py():
            values = pc.replace_substring(values, plain, code)
    ends = pc.cumulative_sum(pc.cast(there, pa.int32()))
    every = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    places = pc.cumulative_sum(pc.cast(counts, pa.int32()))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), every.take(places)])
    lists = pa.ListArray.from_arrays(offsets, values.filter(there))
    texts = pc.binary_join_element_wise("", pc.binary_join(lists, MARK), MARK)
    return pc.if_else(pc.greater(pc.list_value_length(lists), 0), texts, pa.scalar(None, pa.string()))
