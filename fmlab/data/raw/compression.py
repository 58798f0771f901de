"""Compressed files, found by their first bytes: what is behind them is read on the way, never unpacked to disk."""

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import PurePath
from typing import IO, Any, BinaryIO, cast

import pyarrow as pa

from fmlab.errors import DataError
from fmlab.files import BLOCK

MAX_RATIO = 250  # deflate reaches 1,032; text that people share stays below 100
MAGIC = {
    ".gz": b"\x1f\x8b\x08",
    ".bz2": b"BZh",
    ".xz": b"\xfd7zXZ\x00",
    ".zst": b"\x28\xb5\x2f\xfd",
    ".lz4": b"\x04\x22\x4d\x18",
}
BLOCKS_OF_BZIP2 = b"1AY&SY"
DAMAGE = (gzip.BadGzipFile, zlib.error, EOFError, lzma.LZMAError)
# What begins like this is no text: the sentence says what a person can do.
OTHERS = {
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save it as CSV (UTF-8)",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it",
    b"Rar!": "a rar archive: unpack it",
    b"ARROW1": "an Arrow (Feather) file: save it as Parquet",
    b"ORC": "an ORC file: save it as Parquet",
    b"Obj\x01": "an Avro file: save it as Parquet",
    b"\x89HDF": "an HDF5 file: save the table as Parquet",
    b"SQLite format 3": "an SQLite database: save the table as CSV",
    b"\x93NUMPY": "a file of NumPy: save the table as Parquet",
    b"\x80\x04\x95": "a pickle of Python, which is not read because it could run code: save the table as Parquet",
    b"\x80\x05\x95": "a pickle of Python, which is not read because it could run code: save the table as Parquet",
    b"\x1f\x9d": "packed by `compress`: unpack it",
    b"%PDF": "a PDF, not a table",
}
WORKBOOKS = ("xl/workbook.xml", "xl/workbook.bin", "content.xml")


def compression(head: bytes, name: str) -> str:
    """The suffix that says how a file is compressed, by its name or by its first bytes; empty for none.

    Browsers unpack what they fetch, and keep its name: what begins as plain text is not compressed.
    """
    for suffix in MAGIC:
        if name.lower().endswith(suffix) and not _is_plain(head):
            return suffix
    found = next((suffix for suffix, magic in MAGIC.items() if head.startswith(magic)), "")
    return "" if found == ".bz2" and head[4:10] != BLOCKS_OF_BZIP2 else found


def _is_plain(head: bytes) -> bool:
    return bool(head) and all((byte >= ord(" ") and byte != 0x7F) or byte in b"\t\r\n" for byte in head)


def bare(name: str) -> str:
    """The name without the suffixes of compression and of archives: `a.jsonl.gz` holds `a.jsonl`."""
    path = PurePath(name.replace(".tgz", ".tar.gz").replace(".tbz2", ".tar.bz2").replace(".txz", ".tar.xz"))
    while path.suffix.lower() in (*MAGIC, ".tar", ".zip"):
        path = path.with_suffix("")
    return path.name


def what_else(head: bytes) -> str:
    """What a file is that cannot be read as a table, and what to do; empty if its first bytes do not tell."""
    return next((what for magic, what in OTHERS.items() if head.startswith(magic)), "")


def unpacked(file: IO[bytes], name: str, trusted: int) -> BinaryIO:
    """The bytes behind a stream, which is compressed if its name or its first bytes say so.

    Beyond `trusted` bytes it is refused, by a DataError of whoever reads, if it swells as no honest text does.
    """
    peek = file if hasattr(file, "peek") else io.BufferedReader(cast(Any, file), BLOCK)
    kind = compression(peek.peek(16), name)
    source: Any = peek
    if not kind:
        return cast(BinaryIO, peek)
    if kind == ".gz":
        stream: Any = gzip.GzipFile(fileobj=source)
    elif kind == ".bz2":
        stream = bz2.BZ2File(source)
    elif kind == ".xz":
        stream = lzma.LZMAFile(source)  # noqa: SIM115
    else:
        stream = _Arrow(pa.CompressedInputStream(pa.PythonFile(source, "r"), {".zst": "zstd"}.get(kind, kind[1:])))
    return io.BufferedReader(_Guarded(stream, source, name, trusted), BLOCK)


class _Arrow:
    """A compressed stream of Arrow, whose errors are those of damage."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        """The next bytes; raises EOFError where the stream is damaged or cut short."""
        try:
            return bytes(self._stream.read(size))
        except (OSError, pa.ArrowException) as error:
            raise EOFError(str(error)) from error


class _Guarded(io.RawIOBase):
    """A compressed stream that refuses to swell beyond any honest text."""

    def __init__(self, stream: Any, packed: IO[bytes], name: str, trusted: int) -> None:
        self._stream, self._packed, self._name, self._given, self._trusted = stream, packed, name, 0, trusted

    def readable(self) -> bool:
        """As of any file."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; raises DataError for a bomb."""
        try:
            data = self._stream.read(len(buffer))
        except OSError as error:
            if error.errno is not None:
                raise
            raise EOFError(str(error)) from error  # what bz2 says of damage
        self._given += len(data)
        if self._given > self._trusted and self._given > MAX_RATIO * max(self._packed.tell(), 1):
            raise DataError(f"refused: {self._name} unpacks to more than {MAX_RATIO} times its size")
        buffer[: len(data)] = data
        return len(data)
