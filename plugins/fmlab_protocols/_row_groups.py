"""The groups of labeled rows that metrics by group look at."""

import numpy as np

from fmlab.data import Array, Dataset
from fmlab.errors import DataError, choices


def names_of(data: Dataset, name: str) -> Array | None:
    """What the numbers of `group_of` stand for, by number from 0 on; None where the data do not say."""
    if name == "auto":
        return None
    fields = {f.name: n for n, f in enumerate(data.schema.fields)}
    keys = data.keys.get(name)
    if keys is None or (name in ("user", "item") and getattr(data, name) is not None):
        return keys
    unknown = np.array(["(unknown)"], dtype=object)
    return np.concatenate([unknown, np.asarray(keys, dtype=object)]) if name in fields else None


def group_of(data: Dataset, name: str) -> Array | None:
    """int[rows]: the user or the item, or the value of a field with one value a row; None for "auto", the data's own.

    Raises DataError where there is no such field, or it has several values or numbers.
    """
    if name == "auto":
        return None
    for side, index in (("user", data.user), ("item", data.item)):
        if name == side and index is not None:
            return np.asarray(index)
    fields = {f.name: n for n, f in enumerate(data.schema.fields)}
    if name not in fields:
        raise DataError(f"protocol.group must be auto, or a field; got {name!r}; {choices(name, fields)}")
    field = data.schema.fields[fields[name]]
    if field.numeric or field.slots > 1:
        kind = "a number" if field.numeric else "several values"
        raise DataError(f"protocol.group must be a field with one category a row, {name!r} has {kind} in each")
    side_columns = data.schema.columns(field.side)
    column = list(data.schema.column_field).index(fields[name]) - side_columns.start
    table, index = {
        "user": (data.users, data.user),
        "item": (data.items, data.item),
        "context": (data.context, None),
    }[field.side]
    assert table is not None
    values = np.asarray(table.ids[:, column]) - data.schema.offsets[fields[name]]
    return values if index is None else values[np.asarray(index)]
