"""Parquet files, of which a damaged one gives a message of its own: Arrow's errors look like those of a disk."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from fmlab.errors import DataError


def parquet_types(path: Path, member: str = "") -> Mapping[str, Any]:
    """The type of each column by its name; raises DataError for what is damaged, packed, or names two columns alike."""
    with path.open("rb") as file:
        packed = member or not file.read(4).startswith(b"PAR1")
    if packed and path.suffix.lower() not in (".parquet", ".parq", ".pq"):
        raise DataError(f"{path} is a packed Parquet file, which cannot be read as a stream: unpack it")
    schema = _opened(path).schema_arrow
    if double := [n for n in schema.names if schema.names.count(n) > 1]:
        raise DataError(f"columns need different names, {path} repeats {double[0]!r}")
    return {field.name: field.type for field in schema}


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
