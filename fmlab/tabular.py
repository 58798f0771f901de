"""Tables of text as a stream of batches: CSV, TSV, JSON lines and Parquet, with errors that name the line.

Every column arrives dictionary-encoded, or as plain text where that is allowed, its values just as they are written:
"007" stays apart from "7", and "NA" is a value. Only an empty cell is missing.
"""

import codecs
import csv
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fmlab.blocks import blocks, has_nul, line_count
from fmlab.errors import DataError, choices
from fmlab.parquet import parquet_batches, parquet_names
from fmlab.passing import as_json, passed_on
from fmlab.reading import lines, opened

LEAST_SHARE = 4 << 20  # bytes of a block that are worth a core of their own
BLOCK_BYTES = LEAST_SHARE * pa.cpu_count()
HEAD_BYTES = 1 << 20
SHOWN = 5
VARIOUS = 0.25  # the share of distinct values from which a dictionary does not pay
TEXT = pa.dictionary(pa.int32(), pa.string())
SEPARATORS = ("\t", ",", ";", "|")
WIDE = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
Heard = Callable[[int], None]  # told of every piece of a file that has been read, in bytes


def deaf(count: int) -> None:
    """For whoever does not count."""
    pass


@dataclass(frozen=True)
class Form:
    """How a table is written; `recognise` fills in what is empty. `names` are given for a file without a header."""

    separator: str = ""
    names: tuple[str, ...] = ()
    header: bool = True
    encoding: str = "utf-8"
    member: str = ""
    quoted: bool = True


def recognise(path: Path, form: Form | None = None) -> Form:
    """The form with its separator and column names; raises DataError if the columns cannot be told apart."""
    form = form or Form()
    kind = _kind(path, form)
    if kind == ".parquet":
        form = replace(form, names=parquet_names(path))
    elif kind == ".jsonl":
        first = next(_blocks(path, replace(form, header=False), deaf, HEAD_BYTES), memoryview(b""))
        form = replace(form, header=False, names=tuple(dict.fromkeys(k for row in _objects(path, first) for k in row)))
    else:
        form = _recognise_text(path, form)
    if double := [repr(n) for n, count in Counter(form.names).items() if count > 1]:
        raise DataError(f"columns need different names, {path} repeats {', '.join(double)}")
    return form


def batches(
    path: Path,
    form: Form,
    columns: Sequence[str],
    heard: Heard = deaf,
    block: int = BLOCK_BYTES,
    plain: Collection[str] = (),
    loose: Collection[str] = (),
) -> Iterator[pa.RecordBatch]:
    """Batches of some columns, of about `block` bytes of text; raises DataError at the first malformed one.

    A table without any row is an error too. The columns `plain` may come as plain text where values hardly repeat,
    which saves a dictionary that is hardly shorter. The columns `loose` are passed on by who asks for them: they may
    hold anything, and what is no text is written as JSON.
    """
    for name in columns:
        if name not in form.names:
            raise DataError(f"{path} has no column {name!r}; {choices(name, form.names)}")
    kind = _kind(path, form)
    stream: Iterator[pa.RecordBatch]
    if kind == ".parquet":
        stream = parquet_batches(path, columns)
    elif kind == ".jsonl":
        stream = _json(path, form, columns, heard, block, loose)
    else:
        stream = _csv(path, form, columns, heard, block, plain, loose)
    rows = 0
    for batch in stream:
        rows += len(batch)
        if len(batch):
            cells = [passed_on(batch[n]) if n in loose else _as_text(path, n, batch[n], plain) for n in columns]
            yield pa.RecordBatch.from_arrays(cells, list(columns))
    if not rows:
        raise DataError(f"{path} has no rows{' after its header' if form.header else ''}")


def _kind(path: Path, form: Form) -> str:
    name = Path(form.member) if form.member else path
    suffixes = [s.lower() for s in name.suffixes if s.lower() not in (".gz", ".zip")]
    last = suffixes[-1] if suffixes else ""
    return ".jsonl" if last in (".jsonl", ".ndjson", ".json") else last


def _json(
    path: Path, form: Form, columns: Sequence[str], heard: Heard, size: int, loose: Collection[str]
) -> Iterator[pa.RecordBatch]:
    for block in _blocks(path, form, heard, size):
        rows = _objects(path, block)
        cells = [[as_json(row.get(n)) if n in loose else _cell(path, n, row.get(n)) for row in rows] for n in columns]
        yield pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in cells], list(columns))


def _objects(path: Path, block: memoryview) -> list[dict[str, Any]]:
    """The objects of some lines, numbers as they are written."""
    rows = []
    for line in filter(None, map(bytes.strip, bytes(block).split(b"\n"))):
        try:
            row = json.loads(line, parse_int=str, parse_float=str)
        except ValueError as error:
            raise DataError(f"{path} must hold one JSON object a line: {error}: {line[:80]!r}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path} must hold one JSON object a line, got {line[:80]!r}")
        rows.append(row)
    return rows


def _cell(path: Path, name: str, value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "|".join(str(_cell(path, name, v)) for v in value)
    if value is None or isinstance(value, str):
        return value or None
    raise DataError(f"{name!r} of {path} must be text, a number or a list of them, got {value!r}")


def _csv(
    path: Path,
    form: Form,
    columns: Sequence[str],
    heard: Heard,
    size: int,
    plain: Collection[str],
    loose: Collection[str],
) -> Iterator[pa.RecordBatch]:
    """Blocks of whole lines, each parsed on all cores into batches that are dictionary-encoded on the way."""
    from pyarrow import csv as arrow

    bad: list[Any] = []

    def skip(row: Any) -> str:
        bad.append(row)
        return "skip"

    quote = '"' if form.quoted else False
    parse = arrow.ParseOptions(delimiter=form.separator, quote_char=quote, invalid_row_handler=skip)
    types = dict.fromkeys(columns, TEXT)
    convert = arrow.ConvertOptions(
        include_columns=list(columns), column_types=types, null_values=[""], strings_can_be_null=True
    )
    for block in _blocks(path, form, heard, size):
        if has_nul(block):
            raise DataError(_binary(path, form))
        share = max(LEAST_SHARE, len(block) // pa.cpu_count() + 1)  # a part for each core
        try:
            read = arrow.ReadOptions(column_names=form.names, block_size=share)
            try:
                table = arrow.read_csv(pa.py_buffer(block), read, parse, convert)
            except pa.ArrowInvalid as error:
                if "straddling" not in str(error):
                    raise
                read.block_size = len(block) + 1  # a line is longer than a part
                table = arrow.read_csv(pa.py_buffer(block), read, parse, convert)
        except pa.ArrowInvalid as error:
            if not bad:
                raise DataError(_why(path, form, str(error))) from error
        if bad:
            raise DataError(_bad_rows(path, form, bad))
        if form.quoted and len(table) < line_count(block):  # or lines are empty
            _refuse_line_breaks(path, table.drop_columns([n for n in table.column_names if n in loose]))
        yield from (parsed := table.to_batches())
        types |= dict.fromkeys((n for n in plain if parsed and _is_various(parsed[0][n])), pa.string())
        convert.column_types = types


def _is_various(column: Any) -> bool:
    return not pa.types.is_dictionary(column.type) or len(column.dictionary) > VARIOUS * len(column)


def _refuse_line_breaks(path: Path, table: pa.Table) -> None:
    """An open quote swallows lines, which would then be missing in silence."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        for chunk in column.chunks:
            values = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
            if pc.any(broken := pc.match_substring(values, "\n")).as_py():
                value = values.filter(broken)[0].as_py()
                rule = f"column {name!r} of {path} has a line break inside a value: is a quote open?"
                raise DataError(f"{rule} {value[:80]!r}; quoted=false reads quotes as any other character")


def _blocks(path: Path, form: Form, heard: Heard, size: int) -> Iterator[memoryview]:
    return blocks(path, form.member, form.encoding, form.header, heard, size)


def _as_text(path: Path, name: str, column: Any, plain: Collection[str]) -> pa.Array:
    """Any column as dictionary-encoded text, or as `plain` text if it is; lists are joined by `|`."""
    if name in plain and pa.types.is_string(column.type):
        return column
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = pc.binary_join(column.cast(pa.list_(pa.string())), "|")
    if column.type != TEXT:  # also dictionaries of other makers: they may repeat values
        try:
            column = column.cast(pa.string()).dictionary_encode()
        except pa.ArrowInvalid as error:
            raise DataError(f"column {name!r} of {path} cannot be read as text: {error}") from error
    return column


def _recognise_text(path: Path, form: Form) -> Form:
    try:
        codecs.lookup(form.encoding)
    except LookupError as error:
        raise DataError(f"{error}; encodings are named utf-8, latin-1, cp1252, utf-16, ...") from error
    with opened(path, form.member) as file:
        head = file.read(HEAD_BYTES)
    wide = next((name for mark, name in WIDE if head.startswith(mark)), "")
    if wide and not form.encoding.lower().startswith("utf-16"):
        raise DataError(f"{path} is written in {wide}; give encoding={wide}")
    try:
        first = head.split(b"\n")[0].decode(form.encoding) if not wide else head.decode(form.encoding, "ignore")
    except UnicodeDecodeError as error:
        raise DataError(f"the first line of {path} is not {form.encoding}; is it encoding=latin-1?") from error
    first = first.split("\n")[0].rstrip("\r").removeprefix("\ufeff")
    if not first:
        raise DataError(f"{path} is empty, or its first line is")
    if first.lstrip().lower().startswith(("<!doctype html", "<html")):
        raise DataError(f"{path} is a web page, not a table: a page that asks to log in, perhaps")
    separator = form.separator or max(SEPARATORS, key=first.count)
    if len(separator) != 1:
        raise DataError(f"a separator is one character, got {separator!r}")
    try:
        found = next(csv.reader([first], delimiter=separator)) if form.quoted else first.split(separator)
    except csv.Error as error:
        rule = f"the first line of {path} is no row of columns: {first[:80]!r}"
        raise DataError(f"{rule}; do lines end in carriage returns alone?") from error
    if not form.header and form.names and len(found) != len(form.names):
        raise DataError(f"{path} has {len(found)} columns at sep={separator!r}, {len(form.names)} were named")
    names = form.names or (tuple(found) if form.header else tuple(str(n) for n in range(len(found))))
    return replace(form, separator=separator, names=names)


def _bad_rows(path: Path, form: Form, bad: Sequence[Any]) -> str:
    """What the first bad rows look like, and on which lines they are: the parser itself does not know."""
    texts = [row.text.split("\n")[0] for row in bad[:SHOWN]]  # an open quote swallows lines
    found = {}
    for number, line in enumerate(lines(path, form.member, form.encoding), 1):
        if line in texts and line not in found:
            found[line] = number
        if len(found) == len(set(texts)):
            break
    rows = zip(texts, bad, strict=False)
    shown = [f"line {found.get(text, '?')}: {row.actual_columns} columns: {text[:100]}" for text, row in rows]
    if any("\n" in row.text for row in bad):
        shown.append("is a quote open? quoted=false reads quotes as any other character")
    rule = f"every row needs the {len(form.names)} columns of the header"
    return f"{rule}, {path} has {len(bad)} or more that do not: {'; '.join(shown)}"


def _why(path: Path, form: Form, error: str) -> str:
    if "UTF8" in error:
        try:
            for _ in lines(path, form.member, "utf-8"):
                pass
        except DataError as wrong:
            return f"{wrong}; is it encoding=latin-1?"
    return f"{path} is malformed: {error}"


def _binary(path: Path, form: Form) -> str:
    numbered = enumerate(lines(path, form.member, form.encoding), 1)
    number = next((n for n, line in numbered if "\0" in line), "?")
    return f"text holds no NUL bytes, {path} has one in line {number}: is the file damaged, or is it not a text?"
