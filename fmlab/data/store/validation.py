"""What every prepared data set must hold, checked once when it is built, whoever wrote the plugin."""

from collections.abc import Iterator

import numpy as np

from fmlab.data.dataset import Dataset, Ragged, Table
from fmlab.data.encoding.text_arrays import ArrowTexts
from fmlab.data.encoding.transforms import transform_of
from fmlab.data.schema import Array, Field, Side
from fmlab.errors import DataError, choices

CHUNK = 1 << 20
STRIP = 1 << 11


def check(dataset: Dataset) -> None:
    """Raise DataError naming the first rule that the data set breaks."""
    if dataset.rows <= 0:
        raise DataError(f"a data set needs rows, {dataset.name} has {dataset.rows}")
    columns = {name: getattr(dataset, name) for name in ("user", "item", "label", "weight", "group", "time", "split")}
    for name, column in (columns | {f"target {name!r}": target for name, target in dataset.targets.items()}).items():
        if column is not None and column.shape != (dataset.rows,):
            raise DataError(f"{name} must have one entry a row ({dataset.rows}), got the shape {column.shape}")
    if dataset.users is None and dataset.context is None:
        rule = "a row has a user, a context, or both, beside its item"
        raise DataError(f"{rule}; {dataset.name} has items alone: context_fields=[...] keeps a column of the row there")
    schema = dataset.schema
    sides: tuple[tuple[Side, str, Table | None, int], ...] = (
        ("user", "users", dataset.users, schema.n_users),
        ("item", "items", dataset.items, schema.n_items),
        ("context", "context", dataset.context, dataset.rows),
    )
    for side, name, table, rows in sides:
        _check_table(dataset, side, name, table, rows)
    for name, table, count in (("user", dataset.users, schema.n_users), ("item", dataset.items, schema.n_items)):
        index = getattr(dataset, name)
        if (index is None) != (table is None):
            raise DataError(f"{name} indices and the table of {name}s must both be there or both be None")
        if index is not None:
            _check_range(f"{name} indices", index, 0, count)
    if dataset.split is not None:
        _check_range("split", dataset.split, 0, 3)
    if dataset.label is not None:
        _check_finite("label", dataset.label)
    for name, target in dataset.targets.items():
        _check_finite(f"target {name!r}", target)
    if dataset.weight is not None:
        _check_weight(dataset.weight)
    _check_auxiliary(dataset)
    _check_keys(dataset)


def _check_auxiliary(dataset: Dataset) -> None:
    """Vectors and sequences: as many as there are users, items or rows, finite, of known ids."""
    for kind, fields, given in (
        ("vectors", dataset.schema.vectors, dataset.vectors),
        ("sequences", dataset.schema.sequences, dataset.sequences),
    ):
        if {f.name for f in fields} != set(given):
            names = ", ".join(f.name for f in fields) or "none"
            raise DataError(f"{kind} must be those of the schema, {names}; got {', '.join(given) or 'none'}")
    for field in dataset.schema.vectors:
        check_vectors(field, dataset.vectors[field.name], dataset.entities(field.side))
    for field in dataset.schema.sequences:
        lists, count = dataset.sequences[field.name], dataset.entities(field.side)
        check_lists(field, lists, count, dataset.schema.ids_of(field))


def check_vectors(field: Field, array: Array, count: int) -> None:
    """Raise DataError unless these are `count` finite vectors of the field."""
    shape = (count, field.width)
    if array.shape != shape or array.dtype != np.float32:
        raise DataError(f"vectors of {field.name!r} must be float32{list(shape)}, got {array.dtype}{list(array.shape)}")
    _check_finite(f"vectors of {field.name!r}", array)


def check_lists(field: Field, lists: Ragged, count: int, ids: range) -> None:
    """Raise DataError unless these are `count` lists of ids in a range."""
    ends = np.asarray(lists.ends)
    whole = ends.shape == (count,) and (not count or (ends[0] >= 0 and ends[-1] == len(lists.ids)))
    if not whole or (np.diff(ends) < 0).any():
        raise DataError(f"sequences of {field.name!r} must be {count} lists that end one after the other")
    _check_range(f"ids of {field.name!r}", lists.ids, ids.start, ids.stop)


def _check_table(dataset: Dataset, side: Side, name: str, table: Table | None, rows: int) -> None:
    schema = dataset.schema
    columns = range(*schema.columns(side).indices(schema.n_columns))
    if table is None:
        if columns:
            raise DataError(f"the schema has {side} fields but {name} is None")
        return
    if table.ids.shape != (rows, len(columns)):
        raise DataError(f"{name} must have the shape {(rows, len(columns))}, got {table.ids.shape}")
    low, high = _extremes(table.ids)
    for at, column in enumerate(columns):
        entry = schema.fields[schema.column_field[column]]
        offset = schema.offsets[schema.column_field[column]]
        if low[at] < offset or high[at] >= offset + entry.size:
            allowed = f"[{offset}, {offset + entry.size})"
            raise DataError(f"features of field {entry.name!r} must be in {allowed}, got {low[at]} to {high[at]}")
    if table.values is not None:
        if table.values.shape != table.ids.shape:
            raise DataError(f"values of {name} must have the shape {table.ids.shape}, got {table.values.shape}")
        _check_finite(f"values of {name}", table.values)


def _extremes(ids: Array) -> tuple[Array, Array]:
    """Of each column the smallest and the largest number; strips are compared whole, as rows are too short for it."""
    low, high = np.array(ids[:STRIP]), np.array(ids[:STRIP])
    for start in range(STRIP, len(ids), STRIP):
        part = np.asarray(ids[start : start + STRIP])
        np.minimum(low[: len(part)], part, out=low[: len(part)])
        np.maximum(high[: len(part)], part, out=high[: len(part)])
    return low.min(0), high.max(0)


def _check_range(what: str, array: Array, low: int, high: int) -> None:
    for part in _chunks(array):
        if part.min() < low or part.max() >= high:
            raise DataError(f"{what} must be in [{low}, {high}), got {part.min()} to {part.max()}")


def _check_finite(what: str, array: Array) -> None:
    bad = sum(int(np.count_nonzero(~np.isfinite(part))) for part in _chunks(array))
    if bad:
        raise DataError(f"{what} must be finite numbers, {bad} are not")


def _check_weight(weight: Array) -> None:
    """Weights are finite, none is below 0 and some are above."""
    _check_finite("weight", weight)
    if (low := min(float(part.min()) for part in _chunks(weight))) < 0:
        raise DataError(f"weight must be 0 or more in every row, got {low:g}")
    if not any(part.any() for part in _chunks(weight)):
        raise DataError("weight must be above 0 in some row, it is 0 in all")


def _check_keys(dataset: Dataset) -> None:
    schema = dataset.schema
    expected = {f.name: f.size - 1 for f in schema.fields}
    own = {f.vocabulary or f.name: f.size - 1 for f in schema.sequences if schema.owner(f) is None}
    for name in dataset.keys:
        count = len(dataset.keys.column(name) if isinstance(dataset.keys, ArrowTexts) else dataset.keys[name])
        wanted = (expected | own).get(name, count)
        if count != wanted:
            raise DataError(f"keys of {name!r} must be {wanted} (features but the unknown), got {count}")
    names = [f.name for f in (*schema.fields, *schema.auxiliary)]
    for name, given in dataset.inputs.items():
        if name not in names:
            raise DataError(f"inputs must be of fields, got {name!r}; {choices(name, names)}")
        transform_of(given)  # it complains about an unknown one


def _chunks(array: Array) -> Iterator[Array]:
    for start in range(0, len(array), CHUNK):
        yield np.asarray(array[start : start + CHUNK])
