"""Arrays and built-in containers in one sealed file: reading it executes nothing and allocates no more than it says.

The layout: a mark, 8 bytes with the length of the header (little-endian), the header as JSON, the arrays one after the
other (compressed with zstd where that is smaller), a second mark and the sha256 of everything before it. Equal content
gives equal bytes.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fmlab.data.schema import Array
from fmlab.errors import StorageError

BEGIN, END = b"fmlab-arrays-1\n", b"fmlab-sha256:"
KINDS = ("|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<f4", "<f8")
RATIO, RATIO_FROM = 1000, 64 << 20  # arrays of more than so many bytes are at most so many times as large as the file


def to_bytes(content: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """The file. `content` is JSON; arrays have one or two axes and one of the types `KINDS`."""
    packed = {name: _packed(np.ascontiguousarray(array)) for name, array in arrays.items()}
    if sum(a.nbytes for a in arrays.values()) > max(RATIO_FROM, RATIO * sum(len(b) for b, _ in packed.values())):
        packed = {name: (np.ascontiguousarray(a).tobytes(), "") for name, a in arrays.items()}
    entries, at = {}, 0
    for name, (blob, codec) in packed.items():
        array = arrays[name]
        entries[name] = {"kind": array.dtype.str, "shape": array.shape, "codec": codec, "at": [at, at + len(blob)]}
        at += len(blob)
    header = json.dumps({"content": content, "arrays": entries}, ensure_ascii=False).encode()
    whole = b"".join([BEGIN, len(header).to_bytes(8, "little"), header, *(blob for blob, _ in packed.values())])
    return whole + END + hashlib.sha256(whole).digest()


def _packed(array: Array) -> tuple[bytes, str]:
    import pyarrow as pa

    if array.dtype.str not in KINDS or array.ndim not in (1, 2):
        raise StorageError(f"arrays must have one or two axes and a type of {', '.join(KINDS)}, got {array.dtype}")
    raw = array.tobytes()
    small = pa.compress(raw, codec="zstd", asbytes=True)
    return (small, "zstd") if len(small) < len(raw) else (raw, "")


class Container:
    """A file that `to_bytes` made: `content`, and arrays that are unpacked when they are asked for."""

    def __init__(self, path: Path) -> None:
        """Raises StorageError for a file that is missing, damaged, or none of fmlab's."""
        if not path.is_file():
            raise StorageError(f"{path} must be a file, it is not there")
        try:
            self.path, self._whole = path, memoryview(path.read_bytes())
        except MemoryError as error:
            raise StorageError(f"{path} is larger than the memory") from error
        end = len(self._whole) - len(END) - 32
        if end < len(BEGIN) + 8 or bytes(self._whole[: len(BEGIN)]) != BEGIN:
            raise StorageError(f"{path} was not written by this version of fmlab, or it is cut short")
        if self._whole[end : end + len(END)] != END or self._sha256(end) != self._whole[end + len(END) :]:
            raise StorageError(f"{path} is damaged: its sha256 differs")
        start = len(BEGIN) + 8
        self._arrays = start + int.from_bytes(self._whole[len(BEGIN) : start], "little")
        self._end = end
        try:
            header = json.loads(bytes(self._whole[start : min(self._arrays, end)]))
            self.content: dict[str, Any] = header["content"]
            self._entries: dict[str, Any] = header["arrays"]
            if not isinstance(self.content, dict) or not isinstance(self._entries, dict):
                raise TypeError("a mapping is missing")
            sizes = [self._check(entry) for entry in self._entries.values()]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            why = "its lists are nested too deep" if isinstance(error, RecursionError) else f"its header, {error}"
            raise StorageError(f"{path} is malformed: {why:.200}") from error
        if sum(sizes) > max(RATIO_FROM, RATIO * len(self._whole)):
            raise StorageError(f"{path} is refused: its arrays would take more than {RATIO} times its size")

    def __contains__(self, name: str) -> bool:
        """Whether there is an array of this name."""
        return name in self._entries

    def array(self, name: str) -> Array:
        """The array, read-only; raises StorageError if it is not there or cannot be unpacked."""
        import pyarrow as pa

        if name not in self._entries:
            raise StorageError(f"{self.path} is malformed: it has no array {name!r}")
        entry = self._entries[name]
        kind, shape = np.dtype(entry["kind"]), tuple(entry["shape"])
        begin, end = entry["at"]
        blob: Any = self._whole[self._arrays + begin : self._arrays + end]
        try:
            if entry["codec"]:
                size = math.prod(shape) * kind.itemsize
                blob = pa.decompress(pa.py_buffer(blob), decompressed_size=size, codec="zstd")
            return np.frombuffer(blob, kind).reshape(shape)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise StorageError(f"{self.path} is malformed: array {name!r} cannot be unpacked") from error

    def _sha256(self, end: int) -> bytes:
        return hashlib.sha256(self._whole[:end]).digest()

    def _check(self, entry: Any) -> int:
        """Bytes of an unpacked array; raises ValueError or TypeError for an entry that `to_bytes` never writes."""
        shape, (begin, end), codec = entry["shape"], entry["at"], entry["codec"]
        numbers = [*shape, begin, end]
        if any(type(n) is not int or n < 0 for n in numbers) or len(shape) not in (1, 2):
            raise ValueError("shape and place are whole numbers")
        if entry["kind"] not in KINDS or codec not in ("", "zstd"):
            raise ValueError("an unknown type or codec")
        size = math.prod(shape) * np.dtype(entry["kind"]).itemsize
        if begin > end or self._arrays + end > self._end or (not codec and size != end - begin):
            raise ValueError("an array lies outside the file")
        return int(size)
