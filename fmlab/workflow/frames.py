"""Frames of pandas, polars and Arrow: as a file that runs read, and as the pandas frame that serving reads."""

import hashlib
import io
import os
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

    try:
        if type(frame).__module__.partition(".")[0] == "pandas":
            table = pa.Table.from_pandas(frame, preserve_index=False)
        else:
            table = pa.table(frame)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(f"the frame cannot be read as a table: {error}") from error
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(field.type.value_type))
    return table.replace_schema_metadata(None)


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
