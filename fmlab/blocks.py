"""A text file as blocks of whole lines in utf-8, one after the other in the same memory."""

import codecs
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fmlab.errors import DataError
from fmlab.reading import MAX_LINE, opened

log = logging.getLogger(__name__)
PEEK = 64
PIECE = 1 << 18  # bytes that stay in the cache


def blocks(
    path: Path, member: str, encoding: str, header: bool, heard: Callable[[int], None], size: int
) -> Iterator[memoryview]:
    """The file after its header, about `size` bytes at a time; `heard` is told how many were read.

    A block must not be looked at once the next one was asked for: fresh memory costs as much as reading.
    """
    memory, held = bytearray(size), 0  # `held` bytes are the beginning of a line
    decode = _transcoder(path, encoding)
    with opened(path, member) as file:
        while True:
            memory, count, end = _fill(memory, held, file, size, decode)
            if not count:
                break
            heard(count)
            cut = memory.rfind(b"\n", held, end) + 1
            if end - cut > MAX_LINE:
                raise DataError(f"{path} has a line of more than {MAX_LINE >> 20} MB: is it text?")
            start = memory.index(b"\n") + 1 if header and cut else 0
            header = header and not cut
            view = memoryview(memory)
            if cut > start and not _is_blank(view[start:cut]):
                yield view[start:cut]
            held = end - cut
            view[:held] = view[cut:end]
    if memory[:held].strip() and not header:
        log.warning("the last line of %s does not end: is the file cut short?", path)
        yield memoryview(memory)[:held]


def line_count(block: memoryview) -> int:
    """Lines of a block, the last one with or without its end."""
    text = np.frombuffer(block, np.uint8)
    ends = sum(int(np.count_nonzero(text[n : n + PIECE] == ord("\n"))) for n in range(0, len(text), PIECE))
    return ends + (not block or block[-1] != ord("\n"))


def has_nul(block: memoryview) -> bool:
    """Whether there is a NUL byte."""
    return not np.frombuffer(block, np.uint8).all()


def _fill(
    memory: bytearray, held: int, file: Any, size: int, decode: Callable[[bytes], bytes] | None
) -> tuple[bytearray, int, int]:
    """Read on after the bytes held; returns the memory, which may be another, bytes read, and the end of the text."""
    data = decode(raw) if decode and (raw := file.read(size)) else b""
    room = held + (len(data) if decode else size)
    if room > len(memory):
        memory = memory[:held] + bytes(room - held)  # another, as the block given out last may still be held
    if not decode:
        count = file.readinto(memoryview(memory)[held:room])
        return memory, count, held + count
    memory[held : held + len(data)] = data
    return memory, len(raw), held + len(data)


def _is_blank(block: memoryview) -> bool:
    return not bytes(block[:PEEK]).strip() and not bytes(block).strip()


def _transcoder(path: Path, encoding: str) -> Callable[[bytes], bytes] | None:
    """Pieces of a file in its encoding to pieces in utf-8; None for utf-8 itself, which the parser checks."""
    if encoding.lower() in ("utf-8", "utf8"):
        return None
    decoder = codecs.getincrementaldecoder(encoding)()

    def decode(data: bytes) -> bytes:
        try:
            return decoder.decode(data).encode()
        except UnicodeError as error:
            raise DataError(f"{path} is not {encoding}: {error}") from error

    return decode
