"""Frames of pandas, polars and Arrow: as a file that runs read, and as the pandas frame that serving reads."""

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmlab.errors import DataError, FmlabError
from fmlab.files import write_bytes

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "frames"  # of the cache


def is_frame(data: object) -> bool:
    """Whether this is a table in memory: anything with Arrow's C interface, as pandas, polars and pyarrow do."""
    return hasattr(data, "__arrow_c_stream__") or type(data).__module__.partition(".")[0] == "pandas"


def arrow_table(frame: Any) -> Any:
    """The frame as a pyarrow.Table without an index; categories become their texts; raises DataError."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from fmlab.data.raw.typed_columns import NANOSECONDS

    try:
        if type(frame).__module__.partition(".")[0] == "pandas":
            table = pa.Table.from_pandas(_readable(frame), preserve_index=False)
        else:
            table = pa.table(frame)
        for place, field in enumerate(table.schema):
            if pa.types.is_dictionary(field.type):
                table = table.set_column(place, field.name, table.column(place).cast(field.type.value_type))
            elif pa.types.is_duration(field.type):  # Parquet keeps its unit out of sight: seconds
                ticks = table.column(place).cast(pa.int64()).cast(pa.float64(), safe=False)
                seconds = pc.divide(ticks, 1e9 / NANOSECONDS[field.type.unit])
                table = table.set_column(place, field.name, seconds)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(f"the frame cannot be read as a table: {error}") from error
    return table.replace_schema_metadata(None)


def refuse_index(frame: Any, roles: Mapping[str, str]) -> None:
    """Raise DataError where a role names the index of a pandas frame, which is no column."""
    names = getattr(getattr(frame, "index", None), "names", None) or ()
    for role, column in roles.items():
        if column and column in names and column not in frame.columns:
            raise DataError(f"{role}={column} is the index of the frame: frame.reset_index() makes a column of it")


def _readable(frame: Any) -> "pd.DataFrame":
    """The pandas frame with columns that Arrow reads: periods, intervals and cells of several types become text."""
    import pandas as pd
    import pyarrow as pa

    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"a table has columns, got a {type(frame).__name__} of pandas")
    names = [str(name) for name in frame.columns]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"columns need different names, the frame has {twice!r} twice")
    made = frame.copy(deep=False)
    for place, name in enumerate(names):
        column = frame.iloc[:, place]
        kind = getattr(column.dtype, "categories", column).dtype
        if isinstance(kind, pd.PeriodDtype | pd.IntervalDtype):
            made.isetitem(place, list(column.astype(object).map(str, na_action="ignore")))
        elif column.dtype == object:
            try:
                pa.array(column, from_pandas=True)
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                made.isetitem(place, _texts(column, name))
    return made


def _texts(column: Any, name: str) -> Any:
    """Cells of several types as text: 1 and "1" are the same id; raises DataError for what is no plain value."""
    import numpy as np
    import pandas as pd

    from fmlab.serving.frames import cell_text

    there = column[column.notna()]
    kinds = sorted({type(cell).__name__ for cell in there})
    if bad := [cell for cell in there if not isinstance(cell, str | int | float | np.generic)]:
        rule = f"cells of a column are of one type, or texts and numbers, column {name!r} of the frame has"
        raise DataError(f"{rule} {', '.join(kinds)}, such as {bad[0]!r:.60}")
    made = [None if nothing else cell_text(cell) for cell, nothing in zip(column, column.isna(), strict=True)]
    for row, text in enumerate(made, 1):
        try:
            (text or "").encode()
        except UnicodeEncodeError as error:
            half = f"half a character, {error.object[error.start]!a}, is no text"
            raise DataError(f"{half}: column {name!r} of the frame, row {row}") from error
    return pd.Series(made, dtype=object, index=column.index)


def write_frame(frame: Any, cache: Path) -> Path:
    """The frame as a Parquet file in the cache, named by its content, so that the same rows are the same data set."""
    import pyarrow.parquet as pq

    table = arrow_table(frame)
    if not table.num_rows:
        raise DataError("the frame must have rows, got none")
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", store_schema=False)
    content = buffer.getvalue()
    path = cache / FOLDER / f"{hashlib.sha256(content).hexdigest()[:32]}.parquet"
    if not path.is_file() or path.stat().st_size != len(content):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    os.utime(path)  # a cache that is swept by age keeps what is used
    return path


def as_pandas(frame: Any) -> "pd.DataFrame":
    """The frame for serving; raises FmlabError for what is no frame."""
    import pandas as pd

    if isinstance(frame, pd.DataFrame):
        return frame
    if not is_frame(frame):
        raise FmlabError(f"rows must be a frame of pandas, polars or Arrow, got {type(frame).__name__}")
    return arrow_table(frame).to_pandas()
