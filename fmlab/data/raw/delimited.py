"""Delimited text: blocks of rows, each parsed on all cores into columns that are dictionary-encoded on the way."""

import logging
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fmlab.data.raw.quoted_lines import Lines, line_ends, swallowed
from fmlab.data.raw.table_format import BLANKS, TableFormat
from fmlab.data.raw.text_blocks import ADVICE, blocks, has_nul, line_count
from fmlab.errors import DataError

log = logging.getLogger(__name__)
LEAST_SHARE = 4 << 20  # bytes of a block that are worth a core of their own
SHOWN = 5
WIDE_TEXT = 0.2  # the share of NUL bytes from which a text is of two bytes a character
VARIOUS = 0.25  # the share of distinct values from which a dictionary does not pay
TEXT = pa.dictionary(pa.int32(), pa.string())
_RUN = re.compile(rb'"(?:[^"]|"")*"|[ \t]+')
_EDGES = re.compile(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)")


def delimited_batches(
    path: Path,
    form: TableFormat,
    columns: Sequence[str],
    on_bytes: Callable[[int], None],
    size: int,
    text_columns: Collection[str],
) -> Iterator[pa.RecordBatch]:
    """Batches of some columns, which are dictionary-encoded, or strings if in `text_columns`; raises DataError."""
    line = form.skip + 1 if form.skip is not None else 1 + form.header
    reader = _Reader(path, form, columns)
    quoting = form.quoting
    for block in blocks(path, form.member, form.encoding, line - 1, on_bytes, size, quoting):
        if quoting and quoting.opened:
            raise DataError(reader.never_closed(block, line))
        if block[-1] != ord("\n"):
            log.warning("the last line of %s does not end: is the file cut short?", path)
        parsed, lines = reader.read(block, line)
        line += lines
        yield from parsed
        reader.let_plain(n for n in text_columns if parsed and _is_various(parsed[0][n]))


class _Reader:
    """Parses blocks; knows what it has met so far."""

    def __init__(self, path: Path, form: TableFormat, columns: Sequence[str]) -> None:
        from pyarrow import csv as arrow

        self.path, self.form, self.arrow = path, form, arrow
        self.separator = "\t" if form.separator == BLANKS else form.separator
        self.bad: list[Any] = []
        self.parse = arrow.ParseOptions(
            delimiter=self.separator,
            quote_char='"' if form.quoted else False,
            escape_char=form.escape or False,
        )
        self.types = dict.fromkeys(columns, TEXT)
        self.convert = arrow.ConvertOptions(
            include_columns=list(columns), column_types=self.types, null_values=[""], strings_can_be_null=True
        )
        self.whole_rows = False  # whether a row over several lines is known to be meant

    def let_plain(self, names: Iterator[str]) -> None:
        """Have these columns come as strings from now on."""
        self.types |= dict.fromkeys(names, pa.string())
        self.convert.column_types = self.types

    def read(self, block: memoryview, line: int) -> tuple[list[pa.RecordBatch], int]:
        """The batches of a block that begins in this line, and the number of its lines; raises DataError."""
        if has_nul(block):
            raise DataError(self._binary(block, line))
        count = line_count(block)
        if self.form.comment or self.form.separator == BLANKS:
            block = memoryview(self._tidied(block))
        table = self._parsed(block, line)
        if self.form.quoted and not self.bad and len(table) < count:  # or lines are empty
            table = self._over_lines(block, line, table)
        if self.bad:
            raise DataError(self._bad_rows(block, line))
        if self.form.quoted and not self.form.escape and block.obj is not None:
            self._refuse_escapes(block, line)
        return table.to_batches(), count

    def _parsed(self, block: memoryview, line: int) -> pa.Table:
        share = max(LEAST_SHARE, len(block) // pa.cpu_count() + 1)  # a part for each core
        read = self.arrow.ReadOptions(column_names=self.form.names, block_size=share)
        buffer = pa.py_buffer(block)
        while True:
            self.bad = []
            self.parse.invalid_row_handler = _collected(self.bad)
            try:
                table = self.arrow.read_csv(buffer, read, self.parse, self.convert)
            except pa.ArrowInvalid as error:
                if "straddling" in str(error) and read.block_size <= len(block):
                    read.block_size = len(block) + 1  # a line is longer than a part
                    continue
                if not self.bad and "out of sync" not in str(error):
                    raise DataError(self._why(block, line, str(error))) from error
                table = pa.table({})
                if self.parse.newlines_in_values and not self.bad:
                    raise DataError(self._why(block, line, str(error))) from error
            if not self.form.quoted or self.parse.newlines_in_values or (table.num_columns and not self.bad):
                return table
            self.parse.newlines_in_values = True  # a value may have lines in two parts

    def _over_lines(self, block: memoryview, line: int, table: pa.Table) -> pa.Table:
        """The table, once it is known that the values over several lines in it are meant; raises DataError."""
        lines = self._line_ends(block)
        several = bool(lines.enclosed.any())
        if several and not (self.form.line_breaks or self.whole_rows):
            count, suspect, place = swallowed(block, lines, self.separator.encode(), len(self.form.names))
            if suspect:
                said = self._swallowed(block, line, place, lines)
                if suspect == count:
                    raise DataError(said)
                log.warning("%s", said)
            self.whole_rows = True
        if several and not self.parse.newlines_in_values:  # parts might have met within a value unseen
            self.parse.newlines_in_values = True
            return self._parsed(block, line)
        return table

    def _line_ends(self, block: memoryview) -> Lines:
        return line_ends(block, self.separator.encode(), self.form.escape)

    def never_closed(self, block: memoryview, line: int) -> str:
        """The message of a block whose last quote is never closed."""
        text, lines = bytes(block), self._line_ends(block)
        place = lines.opened
        ends = lines.places[(lines.places < place) & ~lines.enclosed]
        start = int(ends[-1]) + 1 if len(ends) else 0
        columns = text[start:place].count(self.separator.encode()) + 1
        shown = text[start : text.find(b"\n", start)].decode(errors="replace")[:100]
        where = f"{self.path}, line {line + text.count(bytes([10]), 0, start)}"
        return f"{where}: {columns} columns: {shown}; is a quote open? It is never closed; {ADVICE}"

    def _swallowed(self, block: memoryview, line: int, place: int, lines: Lines) -> str:
        """The message of a quote that swallows rows, whose line begins at `place`."""
        text = bytes(block)
        stop = int(lines.places[(lines.places > place) & ~lines.enclosed][:1].sum()) or len(text)
        row = text[place:stop].decode(errors="replace")
        number, name, value = line + text.count(b"\n", 0, place), "?", row
        if start := re.search(rf'(?:^|{re.escape(self.separator)})"', row):
            at = row[: start.start() + (start.group() != '"')].count(self.separator)
            name, value = self.form.names[min(at, len(self.form.names) - 1)], row[start.end() :].partition('"')[0]
        rule = f"column {name!r} of {self.path}, line {number}, has a line break inside a value: is a quote open?"
        return f"{rule} {value[:80]!r}; {ADVICE}, line_breaks=true takes such values as they are"

    def _refuse_escapes(self, block: memoryview, line: int) -> None:
        """A quote after a backslash ends its field, or begins text that goes on: the field would be mangled."""
        text = block.obj
        assert isinstance(text, bytes | bytearray)
        if text.find(b"\\") < 0 or (text.find(b'\\"') < 0):
            return
        inner = re.compile(rb'[^"]\\"(?=[^"\r\n' + re.escape(self.separator.encode()) + rb"])")
        if not (found := inner.search(block)):
            return
        at = found.start() + 2
        lines = self._line_ends(memoryview(bytes(block[: at + 1])))
        before = self._line_ends(memoryview(bytes(block[:at])))
        if before.opened >= 0 and lines.opened < 0:
            number = line + bytes(block[:at]).count(b"\n")
            raise DataError(
                f"{self.path}, line {number}, has a quote after a backslash within quotes; "
                r"escape='\\' reads \" as a quote"
            )

    def _tidied(self, block: memoryview) -> bytes:
        """The block with its comments left empty, and with one tab in place of each run of blanks."""
        text = bytes(block)
        if self.form.comment:
            enclosed = _inside(text, self.form)
            begins = re.compile(rb"(?m)^[ \t]*" + re.escape(self.form.comment.encode()) + rb"[^\n]*")
            text = begins.sub(lambda m: m[0] if m.start() and m.start() - 1 in enclosed else b"", text)
        if self.form.separator == BLANKS:
            text = _EDGES.sub(b"", text)
            text = _RUN.sub(lambda m: m[0] if m[0][:1] == b'"' else b"\t", text)
        return text

    def _bad_rows(self, block: memoryview, line: int) -> str:
        """What the first bad rows look like, and on which lines they are: the parser itself does not know."""
        lines = self._line_ends(block) if self.form.quoted else line_ends(block, b"")
        ends = lines.places[~lines.enclosed] if self.form.quoted else lines.places
        starts = [0, *(ends + 1).tolist()]
        text, numbers, at = bytes(block), [], 0
        order = sorted(self.bad, key=lambda row: text.find(row.text.encode()))
        for row in order[:SHOWN]:
            wanted = row.text.encode()
            while at < len(starts) and not _is_row(text, starts[at], wanted):
                at += 1
            numbers.append(line + text.count(b"\n", 0, starts[at]) if at < len(starts) else "?")
            at = at + 1 if at < len(starts) else 0
        found = zip(numbers, order, strict=False)
        shown = [f"line {n}: {row.actual_columns} columns: {row.text.partition(chr(10))[0][:100]}" for n, row in found]
        if any("\n" in row.text for row in self.bad):
            shown.append(f"is a quote open? {ADVICE}")
        if not self.form.escape and any('\\"' in row.text for row in self.bad):
            shown.append(r"escape='\\' reads \" within quotes as a quote")
        rule = f"every row needs the {len(self.form.names)} columns of the header"
        return f"{rule}, {self.path} has {len(self.bad)} or more that do not: {'; '.join(shown)}"

    def _why(self, block: memoryview, line: int, error: str) -> str:
        if "UTF8" in error:
            try:
                bytes(block).decode()
            except UnicodeDecodeError as wrong:
                number = line + bytes(block).count(b"\n", 0, wrong.start)
                return f"the text is not utf-8: {self.path}, line {number}: {wrong.reason}; is it encoding=latin-1?"
        return f"{self.path} is malformed: {error}"

    def _binary(self, block: memoryview, line: int) -> str:
        text = bytes(block)
        number = line + text.count(b"\n", 0, text.find(b"\0"))
        hint = "is the file damaged, or is it not a text?"
        if text.count(b"\0") > WIDE_TEXT * len(text):
            hint = "is it encoding=utf-16, utf-16-le or utf-16-be?"
        return f"text holds no NUL bytes, {self.path} has one in line {number}: {hint}"


def _collected(bad: list[Any]) -> Callable[[Any], str]:
    """Skips bad rows into a list; each reading has its own, for threads of one that failed may go on."""

    def skip(row: Any) -> str:
        bad.append(row)
        return "skip"

    return skip


def _is_row(text: bytes, start: int, wanted: bytes) -> bool:
    end = start + len(wanted)
    return text.startswith(wanted, start) and text[end : end + 1] in (b"\n", b"\r", b"")


def _inside(text: bytes, form: TableFormat) -> set[int]:
    """The places of line ends that quotes enclose."""
    if not form.quoted or b'"' not in text:
        return set()
    separators = b" \t" if form.separator == BLANKS else form.separator.encode()
    lines = line_ends(memoryview(text), separators, form.escape)
    return set(lines.places[np.asarray(lines.enclosed)].tolist())


def _is_various(column: Any) -> bool:
    return not pa.types.is_dictionary(column.type) or len(column.dictionary) > VARIOUS * len(column)
