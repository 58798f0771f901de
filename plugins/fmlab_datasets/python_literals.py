"""Lines of Python literals, as some archives hold instead of JSON: read, never evaluated."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fmlab.data.raw.archive import lines
from fmlab.data.raw.cells import joined
from fmlab.errors import DataError

_TOKEN = re.compile(r"""[uU]?(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")|\b(True|False|None|nan|inf)\b""")
_WORDS = {"True": "true", "False": "false", "None": "null", "nan": "NaN", "inf": "Infinity"}


def objects(path: Path, member: str = "") -> Iterator[dict[str, Any]]:
    """The dict of every line, written as JSON or as a Python literal; raises DataError naming the first that is none.

    NaN, in either, becomes None: it stands for a missing value there.
    """
    for number, line in enumerate(lines(path, member), 1):
        if not line.strip():
            continue
        try:
            row = parse(line)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
            where = f"{path}{f', member {member}' if member else ''}, line {number}"
            rule = "every line must be a dict, as JSON or as a Python literal"
            raise DataError(f"{rule}: {where}: {type(error).__name__}: {line[:80]!r}") from error
        yield {key: None if value != value else value for key, value in row.items()}


def parse(line: str) -> dict[str, Any]:
    """One line; raises ValueError, SyntaxError, TypeError, RecursionError or MemoryError for anything but a dict.

    Literals are rewritten as JSON, whose parser is ten times faster; where that fails, `ast.literal_eval` decides.
    """
    try:
        row = json.loads(line, strict=False)
    except ValueError:
        try:
            row = json.loads(_TOKEN.sub(_as_json, line), strict=False)
        except ValueError:
            row = ast.literal_eval(line.strip())
    if not isinstance(row, dict):
        raise TypeError("no dict")
    return row


def _as_json(token: re.Match[str]) -> str:
    if token[3]:
        return _WORDS[token[3]]
    body = token[1] if token[1] is not None else token[2]
    if "\\" in body:
        return json.dumps(ast.literal_eval(token[0]))
    return '"' + body.replace('"', '\\"') + '"'


def text(value: Any) -> str | None:
    """A value as the text of a cell (`fmlab.data.raw.cells`); what is empty or no plain value is None."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return joined([text(v) for v in value])
    return str(value) if isinstance(value, int | float) else value or None if isinstance(value, str) else None
