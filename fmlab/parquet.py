"""Parquet files whose damage is told as damage: Arrow's errors look like those of a disk."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from fmlab.errors import DataError


def parquet_names(path: Path) -> tuple[str, ...]:
    """Names of the columns."""
    return tuple(_opened(path).schema_arrow.names)


def parquet_batches(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    """Batches of some columns; checksums of pages are verified where the file has them."""
    file = _opened(path)
    try:
        yield from file.iter_batches(columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"the Parquet file is damaged: {path}: {error}; make it or fetch it again") from error


def _opened(path: Path) -> Any:
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"the file is no Parquet file, or it is damaged: {path}: {error}") from error
