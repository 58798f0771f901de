"""Tables as a stream of batches: delimited text, JSON and Parquet, with errors that name the line.

Every column arrives dictionary-encoded, or as plain text where that is allowed, its values just as they are written:
"007" stays apart from "7", and "NA" is a value. Only an empty cell is missing. Lists are cells of
`fmlab.data.raw.cells`.
"""

import codecs
import csv
import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fmlab.data.raw.archive import MAX_LINE, member_name, opened
from fmlab.data.raw.compression import compression, what_else
from fmlab.data.raw.delimited import LEAST_SHARE, TEXT, delimited_batches
from fmlab.data.raw.json_lines import json_batches, json_form
from fmlab.data.raw.parquet import parquet_batches, parquet_types
from fmlab.data.raw.table_format import BLANKS, TableFormat
from fmlab.data.raw.typed_columns import as_json, is_empty, is_list, passed, refusal, texts, unreadable, without_empty
from fmlab.errors import DataError, choices

__all__ = ["BLOCK_BYTES", "HEAD_BYTES", "TEXT", "TableFormat", "as_json", "batches", "detect_format", "ignore_bytes"]
log = logging.getLogger(__name__)
BLOCK_BYTES = LEAST_SHARE * pa.cpu_count()
HEAD_BYTES = 1 << 20
HEADER_LINES = 20  # the most that a header with line ends in its names may have
SEPARATORS = ("\t", ",", ";", "|")
EXCEL = re.compile(r'"?sep=(.)"?')  # what Excel reads as the separator, and some programs write for it
WIDE = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
WIDE_NAMES = "encoding=utf-16, utf-16-le or utf-16-be"
KINDS = {".parquet": ".parquet", ".parq": ".parquet", ".pq": ".parquet"}
KINDS |= dict.fromkeys((".jsonl", ".ndjson", ".json"), ".jsonl")
UNNAMED = "Unnamed: {}"  # as pandas calls a column without a name
ByteCallback = Callable[[int], None]  # called with the length of every piece of a file that has been read


def ignore_bytes(count: int) -> None:
    """For whoever does not count."""
    pass


def detect_format(path: Path, form: TableFormat | None = None, whole: bool = True) -> TableFormat:
    """The form with its kind, separator and column names; raises DataError if the columns cannot be told apart.

    The keys of JSON are those of the `whole` file, which is read for them, or those of its beginning.
    """
    form = form or TableFormat()
    form = replace(form, kind=_kind(path, form))
    if form.kind == ".parquet":
        types = parquet_types(path, form.member)
        form = replace(
            form,
            names=tuple(types),
            lists=tuple(n for n, kind in types.items() if is_list(kind) and not unreadable(kind)),
            refused=tuple(n for n, kind in types.items() if unreadable(kind)),
            empty=tuple(n for n, kind in types.items() if is_empty(kind)),
        )
    elif form.kind == ".jsonl":
        form = json_form(path, form, whole)
    else:
        form = _recognise_text(path, form)
    if double := [n for n, count in Counter(form.names).items() if count > 1]:
        places = ", ".join(f"{n!r} (columns {_places(form.names, n)})" for n in double)
        hint = "; names=[...] with header=true names them otherwise" if form.header else ""
        if form.header and any(name[:1].isdigit() for name in double):
            hint = "; is there no header? header=none names the columns 0, 1, 2, ..."
        raise DataError(f"columns need different names, {path} repeats {places}{hint}")
    return form


def _places(names: Sequence[str], name: str) -> str:
    return " and ".join(str(at) for at, other in enumerate(names, 1) if other == name)


def batches(
    path: Path,
    form: TableFormat,
    columns: Sequence[str],
    on_bytes: ByteCallback = ignore_bytes,
    block: int = BLOCK_BYTES,
    text_columns: Collection[str] = (),
    loose: Collection[str] = (),
) -> Iterator[pa.RecordBatch]:
    """Batches of some columns, of about `block` bytes of text; raises DataError at the first malformed one.

    Other columns are not looked at, whatever they hold. A table without any row is an error too. `text_columns` may
    come as plain text where values hardly repeat, which saves a dictionary that is hardly shorter. The columns `loose`
    are passed on by who asks for them: they may hold anything, and what is no text is written as JSON.
    """
    for name in columns:
        if name not in form.names:
            raise DataError(f"{path} has no column {name!r}; {choices(name, form.names)}")
    kind = form.kind or _kind(path, form)
    stream: Iterator[pa.RecordBatch]
    if kind == ".parquet":
        if refused := [n for n in columns if n in form.refused and n not in loose]:
            raise refusal(path, refused[0], parquet_types(path, form.member)[refused[0]])
        stream = parquet_batches(path, columns)
    elif kind == ".jsonl":
        stream = json_batches(path, form, columns, on_bytes, block, loose)
    else:
        stream = delimited_batches(path, form, columns, on_bytes, block, text_columns)
    rows = 0
    for batch in stream:
        rows += len(batch)
        if len(batch):
            cells = [passed(batch[n]) if n in loose else _as_text(path, n, batch[n], text_columns) for n in columns]
            yield pa.RecordBatch.from_arrays(cells, list(columns))
    if not rows:
        raise DataError(f"{path} has no rows{' after its header' if form.header and kind != '.parquet' else ''}")


def _kind(path: Path, form: TableFormat) -> str:
    with opened(path, form.member) as file:
        head = file.read(16)
    if head.startswith(b"PAR1"):
        return ".parquet"
    if what := what_else(head):
        raise DataError(f"{path} is {what}")
    if packed := compression(head, ""):
        raise DataError(f"{path} is packed twice, inside is a {packed} file: unpack it once")
    wide = next((name for mark, name in WIDE if head.startswith(mark)), "")
    if wide and not form.encoding.lower().startswith("utf-16"):
        raise DataError(f"{path} is written in {wide}; give encoding={wide}")
    suffix = Path(member_name(path, form.member)).suffix.lower()
    return KINDS.get(suffix, suffix)


def _as_text(path: Path, name: str, column: Any, text_columns: Collection[str]) -> pa.Array:
    """Any column as dictionary-encoded text, or as `text_columns` text if it is."""
    if name in text_columns and pa.types.is_string(column.type):
        return without_empty(column)
    if column.type != TEXT or pc.any(pc.equal(pc.binary_length(column.dictionary), 0)).as_py():
        # also dictionaries of other makers: they may repeat values
        column = texts(path, name, column).dictionary_encode()
    return column


def _recognise_text(path: Path, form: TableFormat) -> TableFormat:
    try:
        codecs.lookup(form.encoding)
    except LookupError as error:
        raise DataError(f"{error}; encodings are named utf-8, latin-1, cp1252, utf-16, ...") from error
    skip, first = _first_row(path, form)
    if named := EXCEL.fullmatch(first):
        form = replace(form, separator=form.separator or named[1])
        skip, first = _first_row(path, form, skip + 1)
    separator = form.separator or _separator(first, form.quoted)
    if separator != BLANKS and len(separator) != 1:
        raise DataError(f"a separator is one character, got {separator!r}; sep={BLANKS} is any run of blanks")
    found = _split(path, first, separator, form)
    if form.names and len(found) != len(form.names):
        raise DataError(f"{path} has {len(found)} columns at sep={separator!r}, {len(form.names)} were named")
    if not form.header and form.names == tuple(name.strip() for name in found):
        rule = f"the first line of {path} is a header, it holds the names given"
        raise DataError(f"{rule}; header=true skips it")
    header = first.count("\n") + 1 if form.header else 0
    names = form.names or (_named(found) if form.header else tuple(str(n) for n in range(len(found))))
    return replace(form, separator=separator, names=names, skip=skip + header)


def _first_row(path: Path, form: TableFormat, skip: int = 0) -> tuple[int, str]:
    """The number of lines before the first row after `skip` lines, and the row; raises DataError if there is none."""
    with opened(path, form.member) as file:
        head = file.read(HEAD_BYTES)
        wide = next((name for mark, name in WIDE if head.startswith(mark)), "")
        if wide and not form.encoding.lower().startswith("utf-16"):
            raise DataError(f"{path} is written in {wide}; give encoding={wide}")
        while not _has_row(head, form.comment) and len(head) < MAX_LINE and (more := file.read(HEAD_BYTES)):
            head += more
    text = head.decode(form.encoding, "ignore" if codecs.lookup(form.encoding).name != "utf-8" else "surrogateescape")
    lines = text.removeprefix("\ufeff").split("\n")
    while form.comment and skip < len(lines) and lines[skip].lstrip().startswith(form.comment):
        skip += 1
    first = lines[skip] if skip < len(lines) else ""
    for line in lines[skip + 1 : skip + HEADER_LINES] if form.quoted and first.count('"') % 2 else ():
        first += f"\n{line}"
        if first.count('"') % 2 == 0:
            break
    else:
        first = first.partition("\n")[0]  # a quote that is no quote
    first = first.rstrip("\r")
    if "\0" in first:
        raise DataError(f"text holds no NUL bytes, {path} has one in its first line: is it {WIDE_NAMES}?")
    if re.search("[\udc80-\udcff]", first):
        raise DataError(f"the first line of {path} is not {form.encoding}; is it encoding=latin-1?")
    if not first:
        raise DataError(f"{path} is empty, or its first line is")
    if first.lstrip().lower().startswith(("<!doctype html", "<html")):
        raise DataError(f"{path} is a web page, not a table: a page that asks to log in, perhaps")
    return skip, first


def _has_row(head: bytes, comment: str) -> bool:
    """Whether a line that is no comment ends in this beginning of a file."""
    return any(not comment or not line.lstrip().startswith(comment.encode()) for line in head.split(b"\n")[:-1])


def _separator(first: str, quoted: bool) -> str:
    """The separator that is most frequent in the first row, outside of quotes."""
    bare = re.sub(r'"(?:[^"]|"")*"', "", first) if quoted else first
    return max(SEPARATORS, key=bare.count)


def _split(path: Path, first: str, separator: str, form: TableFormat) -> list[str]:
    if separator == BLANKS:
        first, separator = re.sub(r'"(?:[^"]|"")*"|[ \t]+', _as_tab, first.strip()), "\t"
    if not form.quoted:
        return first.split(separator)
    limit = csv.field_size_limit(MAX_LINE)
    try:
        escape = form.escape or None
        rows = [f"{line}\n" for line in first.split("\n")]
        return next(csv.reader(rows, delimiter=separator, escapechar=escape))
    except csv.Error as error:
        rule = f"the first line of {path} is no row of columns: {first[:80]!r}"
        raise DataError(f"{rule}; do lines end in carriage returns alone?") from error
    finally:
        csv.field_size_limit(limit)


def _as_tab(match: re.Match[str]) -> str:
    return match[0] if match[0].startswith('"') else "\t"


def _named(found: Sequence[str]) -> tuple[str, ...]:
    """The names of a header without blanks at their ends; a column without a name gets that of its place."""
    names = [name.strip() for name in found]
    for at, name in enumerate(names):
        number, fresh = 0, UNNAMED.format(at)
        while not name and fresh in names:
            number += 1
            fresh = f"{UNNAMED.format(at)}.{number}"
        names[at] = name or fresh
    return tuple(names)
