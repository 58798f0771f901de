"""A data set from a table in memory: the short way for a data plugin whose raw files are small."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from fmlab.data.dataset import Dataset
from fmlab.data.encoding.auxiliary import auxiliary_columns, with_auxiliary
from fmlab.data.encoding.dataset_encoding import encode
from fmlab.data.encoding.plan import Plan
from fmlab.data.encoding.progress import ProgressBar
from fmlab.data.raw.table import TEXT
from fmlab.data.raw.typed_columns import is_list, texts
from fmlab.data.schema import Side
from fmlab.errors import DataError, choices

ROWS = 1 << 16  # of a batch


def encode_table(
    name: str,
    table: Any,
    workspace: Path,
    *,
    user: str = "",
    item: str = "",
    label: str = "",
    targets: Collection[str] = (),
    weight: str = "",
    group: str = "",
    time: str = "",
    user_fields: Collection[str] = (),
    item_fields: Collection[str] = (),
    numeric: Collection[str] = (),
    ignore: Collection[str] = (),
    min_count: int = 1,
    vectors: Collection[str] = (),
    sequences: Collection[str] | Mapping[str, str] = (),
) -> Dataset:
    """The data set `name` of a `pyarrow.Table` or a pandas frame; large arrays are files in `workspace`.

    `user`, `item`, `label`, `weight` (how much a row counts), `group` (what it belongs to, for metrics by group) and
    `time` name columns; `targets`, in place of `label`, several labels of each row. Of the others, `user_fields` and
    `item_fields` are attributes of the user and of the item, with one value for each; the rest are context. Columns in
    `numeric` are numbers, brought to mean 0 and deviation 1; other columns are categories, lists are multi-valued.
    Values seen fewer than `min_count` times become the unknown feature of their field.

    Columns in `vectors` hold lists of finite numbers, all of one width, for models that ask for vectors (those of users
    and items may come from a file instead: `with_vectors`). Columns in `sequences` hold lists whose order counts, for
    models that ask for sequences; as a mapping it names the column in whose vocabulary the ids are: what is in that of
    `item` and not of an item is the history of the row.

    Raises DataError for a column that is not there or cannot be read, for an attribute with several values, for vectors
    that are missing or ragged, and for a table without rows.
    """
    if not isinstance(table, pa.Table):
        table = pa.Table.from_pandas(table, preserve_index=False)
    if label and targets:
        raise DataError(f"{name}: rows have a label or targets, got label={label} and targets={', '.join(targets)}")
    several, label = tuple(dict.fromkeys(targets)), label or next(iter(targets), "")
    roles = list(dict.fromkeys(role for role in (user, item, label, time, weight, group, *several) if role))
    for column in (*roles, *user_fields, *item_fields, *numeric, *ignore, *vectors, *sequences):
        if column not in table.column_names:
            raise DataError(f"{name}: the table has no column {column!r}; {choices(column, table.column_names)}")
    if not table.num_rows:
        raise DataError(f"{name}: the table has no rows")
    every: dict[str, Side] = {
        column: "user" if column in user_fields else "item" if column in item_fields else "context"
        for column in table.column_names
    }
    shared = sequences if isinstance(sequences, Mapping) else dict.fromkeys(sequences, "")
    shared = {column: {user: "user", item: "item"}.get(of, of) for column, of in shared.items()}
    auxiliary = auxiliary_columns(table.column_names, shared, vectors, every, list_separator="")
    taken = {*roles, *ignore, *vectors, *sequences}
    sides = {column: side for column, side in every.items() if column not in taken}
    lists = tuple(column for column in sides if is_list(table.schema.field(column).type))
    plan = Plan(
        user,
        item,
        label,
        time,
        targets=several if len(several) > 1 else (),
        weight=weight,
        group=group,
        fields=sides,
        numeric=tuple(numeric),
        multi=lists,
        min_count=min_count,
    )
    made = encode(
        name, _batches(name, table.select(plan.columns)), plan, workspace, ProgressBar(f"preparing {name}", None)
    )
    named = {field: replace(made.input(field), column=of) for field, of in (("user", user), ("item", item)) if of}
    made = replace(made, inputs={**made.inputs, **named})
    rows = _batches(name, table.select([column.name for column in auxiliary])) if auxiliary else ()
    return with_auxiliary(made, rows, auxiliary, workspace, min_count)


def _batches(name: str, table: pa.Table) -> Any:
    """Batches of dictionary-encoded text."""
    for batch in table.to_batches(max_chunksize=ROWS):
        if not len(batch):
            continue
        columns = []
        for column in batch.schema.names:
            cells = batch[column]
            columns.append(cells if cells.type == TEXT else texts(Path(name), column, cells).dictionary_encode())
        yield pa.RecordBatch.from_arrays(columns, batch.schema.names)
