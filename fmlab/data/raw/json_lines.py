"""JSON: one object a line, or one array of objects; values as they are written, lists as lists."""

import codecs
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from fmlab.data.raw.archive import MAX_LINE, opened
from fmlab.data.raw.cells import joined
from fmlab.data.raw.table_format import TableFormat
from fmlab.data.raw.text_blocks import blocks
from fmlab.data.raw.typed_columns import READ, as_json
from fmlab.errors import DataError

HEAD_BYTES = 1 << 20
START = 64
CUT = 80
BLANK = " \t\r\n"
BETWEEN = BLANK + ",[]\ufeff"
RULE = "JSON must hold one object a line, or one array of objects"


class _Repeated(dict[str, Any]):
    """An object that has the key `twice` twice."""

    twice = ""


class Rows(NamedTuple):
    """Some objects, and the line that each begins in."""

    objects: list[dict[str, Any]]
    lines: Sequence[int]


def json_form(path: Path, form: TableFormat, whole: bool) -> TableFormat:
    """The form with the keys of the objects of the `whole` file as names, or of its beginning; raises DataError."""
    names: dict[str, None] = {}
    lists: dict[str, None] = {}
    count = 0
    row: dict[str, Any] = {}
    for rows in json_rows(path, form, lambda count: None, HEAD_BYTES):
        count += len(rows.objects)
        for row, line in zip(rows.objects, rows.lines, strict=True):
            if new := row.keys() - names.keys():
                names.update(dict.fromkeys(key for key in row if key in new))
                for key in new:
                    _refuse_surrogates(path, key, line, "a key")
            lists.update(dict.fromkeys(key for key, value in row.items() if isinstance(value, list)))
        if not whole:
            break
    if not count:
        raise DataError(f"{path} has no rows")
    if count == 1 and whole and row and all(isinstance(value, list | dict) for value in row.values()):
        raise DataError(
            f"{RULE}; {path} is one object of lists or objects alone: columns, perhaps, of which pandas makes rows by "
            "to_json(orient='records', lines=True)"
        )
    return replace(form, header=False, names=tuple(names), lists=tuple(n for n in names if n in lists))


def json_batches(
    path: Path, form: TableFormat, columns: Sequence[str], on_bytes: Any, size: int, loose: Collection[str] = ()
) -> Iterator[pa.RecordBatch]:
    """Batches of some keys, as strings; a key that an object lacks is missing there. Raises DataError.

    Of the keys in `loose` any value is taken, as JSON.
    """
    for rows in json_rows(path, form, on_bytes, size):
        made = []
        for name in columns:
            if name in loose:
                made.append(pa.array([as_json(row.get(name)) for row in rows.objects], pa.string()))
                continue
            several = name in form.lists
            cells = [_cell(path, name, row.get(name), several) for row in rows.objects]
            try:
                made.append(pa.array(cells, pa.string()))
            except UnicodeEncodeError:
                for cell, line in zip(cells, rows.lines, strict=True):
                    _refuse_surrogates(path, cell or "", line, f"{name!r}")
        yield pa.RecordBatch.from_arrays(made, list(columns))


def json_rows(path: Path, form: TableFormat, on_bytes: Any, size: int) -> Iterator[Rows]:
    """The objects of a file, block by block; raises DataError, with the line, for anything else."""
    with opened(path, form.member) as file:
        start = file.read(START).decode(form.encoding, "ignore").lstrip("\ufeff" + BLANK)
    over_lines = start.startswith("[") or start.partition("\n")[0].rstrip() == "{"
    yield from _values(path, form, on_bytes, size) if over_lines else _lines(path, form, on_bytes, size)


def _lines(path: Path, form: TableFormat, on_bytes: Any, size: int) -> Iterator[Rows]:
    line = 0
    for block in blocks(path, form.member, form.encoding, 0, on_bytes, size):
        objects, lines = [], []
        for text in _text(path, block, line):
            line += 1
            if text and not text.isspace():
                objects.append(_object(path, text, line))
                lines.append(line)
        if block[-1] == ord("\n"):
            line -= 1  # what follows the last line end
        if objects:
            yield Rows(objects, lines)


def _text(path: Path, block: memoryview, before: int) -> list[str]:
    data = bytes(block)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = before + data.count(b"\n", 0, error.start) + 1
        raise DataError(f"the text is not utf-8: {path}, line {line}; is it encoding=latin-1?") from error
    return (text.removeprefix("\ufeff") if not before else text).split("\n")


def _object(path: Path, text: str, line: int) -> dict[str, Any]:
    try:
        return _checked(path, _DECODER.decode(text), text, line)
    except (ValueError, RecursionError) as error:
        raise _malformed(path, error, text, line) from error


def _malformed(path: Path, error: Exception, text: str, line: int) -> DataError:
    what = f"{RULE}: {path}, line {line}"
    if isinstance(error, RecursionError):
        return DataError(f"{what}, is nested too deeply: {text[:CUT]!r}")
    return DataError(f"{what}: {error}: {text[:CUT]!r}")


def _checked(path: Path, row: Any, text: str, line: int) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DataError(f"{RULE}: {path}, line {line}, got {text[:CUT]!r}")
    if isinstance(row, _Repeated):
        raise DataError(f"an object has each key once: {path}, line {line}, repeats {row.twice!r}: {text[:CUT]!r}")
    return row


def _values(path: Path, form: TableFormat, on_bytes: Any, size: int) -> Iterator[Rows]:
    """The objects of an array, or one after the other, each over any number of lines."""
    decode = codecs.getincrementaldecoder(form.encoding)()
    text, line, at = "", 1, 0
    with opened(path, form.member) as file:
        while True:
            data = file.read(max(size, HEAD_BYTES))
            on_bytes(len(data))
            try:
                text, at = text[at:] + decode.decode(data, not data), 0
            except UnicodeDecodeError as error:
                raise DataError(f"the text is not {form.encoding}: {path}: {error.reason}") from error
            objects: list[dict[str, Any]] = []
            lines: list[int] = []
            while True:
                start = _next(text, at)
                line += text.count("\n", at, start)
                at = start
                if at == len(text):
                    break
                try:
                    row, end = _DECODER.raw_decode(text, at)
                except (ValueError, RecursionError) as error:
                    if data and not isinstance(error, RecursionError) and len(text) - at < MAX_LINE:
                        break  # the rest of it is still to be read
                    raise _malformed(path, error, text[at : at + CUT], line) from error
                objects.append(_checked(path, row, text[at : at + CUT], line))
                lines.append(line)
                line += text.count("\n", at, end)
                at = end
            if objects:
                yield Rows(objects, lines)
            if not data:
                return


def _next(text: str, at: int) -> int:
    while at < len(text) and text[at] in BETWEEN:
        at += 1
    return at


def _cell(path: Path, name: str, value: Any, several: bool) -> str | None:
    """A value as text; where a key has lists, any other value is a list of one."""
    if isinstance(value, list):
        return joined([_one(path, name, v) for v in value])
    text = _one(path, name, value)
    return joined([text]) if several else text


def _one(path: Path, name: str, value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, str):
        return value or None
    what = "a list of lists" if isinstance(value, list) else "an object"
    raise DataError(
        f"column {name!r} of {path} holds {what}, {json.dumps(value)[:CUT]}: {READ}; drop_columns=[{name}] leaves the "
        "column out"
    )


def _refuse_surrogates(path: Path, text: str, line: int, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = f"\\u{ord(text[error.start]):04x}"
        rule = f"half a character, {code}, is no text"
        raise DataError(f"{rule}: {path}, line {line}, {where} holds one: {text[:CUT]!r}") from error


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    repeated = _Repeated(made)
    repeated.twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return repeated


def _constant(name: str) -> str | None:
    return None if name == "NaN" else name  # pandas writes what is missing so


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=str, parse_float=str, parse_constant=_constant)
