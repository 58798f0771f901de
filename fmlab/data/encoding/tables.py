"""A data set from a table in memory: the short way for a data plugin whose raw files are small."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from fmlab.data.dataset import Dataset
from fmlab.data.encoding.first_pass import Plan
from fmlab.data.encoding.preparation import encode
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
    time: str = "",
    user_fields: Collection[str] = (),
    item_fields: Collection[str] = (),
    numeric: Collection[str] = (),
    ignore: Collection[str] = (),
    min_count: int = 1,
) -> Dataset:
    """The data set `name` of a `pyarrow.Table` or a pandas frame; large arrays are files in `workspace`.

    `user`, `item`, `label` and `time` name columns. Of the others, `user_fields` and `item_fields` are attributes of
    the user and of the item, with one value for each; the rest are context. Columns in `numeric` are numbers,
    brought to mean 0 and deviation 1; other columns are categories, lists are multi-valued. Values seen fewer than
    `min_count` times become the unknown feature of their field. Raises DataError for a column that is not there or
    cannot be read, for an attribute with several values, and for a table without rows.
    """
    if not isinstance(table, pa.Table):
        table = pa.Table.from_pandas(table, preserve_index=False)
    roles = [role for role in (user, item, label, time) if role]
    for column in (*roles, *user_fields, *item_fields, *numeric, *ignore):
        if column not in table.column_names:
            raise DataError(f"{name}: the table has no column {column!r}; {choices(column, table.column_names)}")
    if not table.num_rows:
        raise DataError(f"{name}: the table has no rows")
    taken = {*roles, *ignore}
    sides: Mapping[str, Side] = {
        column: "user" if column in user_fields else "item" if column in item_fields else "context"
        for column in table.column_names
        if column not in taken
    }
    lists = tuple(column for column in sides if is_list(table.schema.field(column).type))
    plan = Plan(user, item, label, time, fields=sides, numeric=tuple(numeric), multi=lists, min_count=min_count)
    return encode(
        name, _batches(name, table.select(plan.columns)), plan, workspace, ProgressBar(f"preparing {name}", None)
    )


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
