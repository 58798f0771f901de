"""Rows on their way out: CSV on the terminal, or a file that appears when it is whole."""

import csv
import io
import logging
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from fmlab.errors import DataError, FmlabError
from fmlab.files import draft_of, storing, sync
from fmlab.terminal.escaping import escaped

SEPARATORS = {".csv": ",", ".tsv": "\t"}
PARQUET = ".parquet"
PREFIX = "predicted_"
Write = Callable[[Any], None]
log = logging.getLogger("fmlab")


def refuse_extension(out: Path | None) -> None:
    """Raise FmlabError unless a table can be written to `out`."""
    if out is not None and out.suffix.lower() not in (*SEPARATORS, PARQUET):
        raise FmlabError(f"--out must end in {', '.join((*SEPARATORS, PARQUET))}, got {out}")
    if out is not None and out.is_dir():
        raise FmlabError(f"--out must be a file, got the folder {out}")


def names_of_added(names: Collection[str], needed: Collection[str], added: Sequence[str], where: object) -> list[str]:
    """Names of the columns that are added to columns `names`: `predicted_...` if the model reads one of their name.

    Raises DataError if a column that the model does not read has a name of theirs, as scores of before have.
    """
    if clash := [name for name in added if name in needed]:
        log.warning(f"the model reads a column {clash[0]!r}: what is added has names that begin with {PREFIX!r}")
        added = [f"{PREFIX}{name}" for name in added]
    if taken := [name for name in added if name in names]:
        raise DataError(f"the column {taken[0]!r} is added to the rows, {where} has one of that name: rename it")
    return list(added)


@contextmanager
def writing(out: Path | None) -> Iterator[Write]:
    """A function that takes record batches of equal columns; a file that is there is replaced at the end, as a whole.

    Raises StorageError.
    """
    if out is None:
        yield _text(_put_escaped if sys.stdout.isatty() else sys.stdout.buffer.write, ",")
        return
    with storing(out.parent), draft_of(out) as draft:
        with draft.open("wb") as file:
            if out.suffix.lower() == PARQUET:
                with _parquet(file) as write:
                    yield write
            else:
                yield _text(file.write, SEPARATORS[out.suffix.lower()])
        sync(draft)
        draft.replace(out)
        sync(out.parent)


def _put_escaped(content: bytes) -> None:
    """What a person reads: ids and names may be foreign, and move no cursor. Programs get the bytes as they are."""
    sys.stdout.buffer.write(escaped(content.decode()).encode())


def _text(put: Callable[[bytes], Any], separator: str) -> Write:
    from pyarrow import csv as arrow

    bare, quoted = (
        arrow.WriteOptions(include_header=False, delimiter=separator, quoting_style=style)
        for style in ("none", "needed")
    )
    headed = False

    def write(batch: Any) -> None:
        nonlocal headed
        if not headed:
            header = io.StringIO()
            csv.writer(header, delimiter=separator, lineterminator="\n").writerow(batch.schema.names)
            put(header.getvalue().encode())
            headed = True
        plain, buffer = _plain(batch), io.BytesIO()
        try:
            arrow.write_csv(plain, buffer, bare)
        except pa.ArrowInvalid:  # a value has a separator, a quote or a line break: Arrow then quotes all of the batch
            buffer = io.BytesIO()
            arrow.write_csv(plain, buffer, quoted)
        put(buffer.getvalue())

    return write


@contextmanager
def _parquet(file: Any) -> Iterator[Write]:
    from pyarrow import parquet

    writer: Any = None

    def write(batch: Any) -> None:
        nonlocal writer
        plain = _plain(batch)
        if writer is None:
            writer = parquet.ParquetWriter(file, plain.schema)
        writer.write_batch(plain)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()


def _plain(batch: Any) -> Any:
    """Without dictionaries, whose types differ from batch to batch."""
    columns = [_decoded(c) if pa.types.is_dictionary(c.type) else c for c in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _decoded(column: Any) -> Any:
    """The texts of a column, lists as people read them."""
    from fmlab.data.raw.cells import readable

    return pa.DictionaryArray.from_arrays(column.indices, readable(column.dictionary)).dictionary_decode()
