"""A text file as blocks of whole rows in utf-8, one after the other in the same memory.

A row ends with its line, unless the end of the line is inside quotes.
"""

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fmlab.data.raw.archive import MAX_LINE, opened
from fmlab.data.raw.quoted_lines import PIECE, count_quotes, line_ends
from fmlab.errors import DataError

PEEK = 64
_QUOTED = re.compile(rb'"(?:[^"]|"")*"')
ADVICE = "quoting=false reads quotes as any other character"


@dataclass
class Quoting:
    """Where quotes matter: the bytes that part columns, and the character that takes its meaning from a quote.

    Rows have so many `columns`. `opened` is set before a last block whose last quote is never closed.
    """

    separators: bytes
    columns: int
    escape: str = ""
    opened: bool = False


def blocks(
    path: Path,
    member: str,
    encoding: str,
    header: int,
    on_bytes: Callable[[int], None],
    size: int,
    quoting: Quoting | None = None,
) -> Iterator[memoryview]:
    """The file after its first `header` lines, about `size` bytes at a time; `on_bytes` gets how many were read.

    A block must not be looked at once the next one was asked for: fresh memory costs as much as reading.
    """
    memory, held = bytearray(size), 0  # `held` bytes are the beginning of a row
    decode, passed = _transcoder(path, encoding), 0  # lines that no block holds
    with opened(path, member) as file:
        while True:
            memory, count, end = _fill(memory, held, file, size, decode)
            if not count:
                break
            on_bytes(count)
            view = memoryview(memory)
            cut = memory.rfind(b"\n", held, end) + 1
            if cut and quoting:
                cut = _last_row(view[:cut], quoting)
            if end - cut > MAX_LINE:
                what = f", or a quote that is open from there on ({ADVICE})" if quoting else ""
                raise DataError(f"{path} has a line of more than {MAX_LINE >> 20} MB{what}: is it text?")
            start = 0
            while passed < header and (at := memory.find(b"\n", start, cut)) >= 0:
                start, passed = at + 1, passed + 1
            if cut > start and not _is_blank(view[start:cut]):
                yield view[start:cut]
            held = end - cut
            view[:held] = view[cut:end]
    if memory[:held].strip() and passed >= header:
        if quoting:
            quoting.opened = line_ends(memoryview(memory)[:held], quoting.separators, quoting.escape).opened >= 0
        yield memoryview(memory)[:held]


def _last_row(view: memoryview, quoting: Quoting) -> int:
    """The end of the last whole row of a text that begins with a row and ends with a line."""
    if count_quotes(view) % 2 == 0 and not quoting.escape and _ends_with_row(view, quoting):
        return len(view)  # every quote that opens is closed
    ends = line_ends(view, quoting.separators, quoting.escape)
    outside = ends.places[~ends.enclosed]
    return int(outside[-1]) + 1 if len(outside) else 0


def _ends_with_row(view: memoryview, quoting: Quoting) -> bool:
    """Whether the last line looks like a row: an even number of quotes does not tell, if some are no quotes."""
    text = view.obj
    assert isinstance(text, bytearray)
    line = bytes(view[text.rfind(b"\n", 0, len(view) - 1) + 1 : len(view)])
    if len(quoting.separators) > 1:  # any run of them
        return len(_QUOTED.sub(b"x", line).split()) == quoting.columns
    return _QUOTED.sub(b"", line).count(quoting.separators) + 1 == quoting.columns


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
    if codecs.lookup(encoding).name == "utf-8":
        return None
    decoder = codecs.getincrementaldecoder(encoding)()

    def decode(data: bytes) -> bytes:
        try:
            return decoder.decode(data).encode()
        except UnicodeError as error:
            raise DataError(f"{path} is not {encoding}: {error}") from error

    return decode
