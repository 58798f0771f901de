"""Pandas frames as the batches of text that the encoder reads: a cell is the text that a file would hold."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fmlab.data import Side
from fmlab.data.encoding.fitted_encoder import Encoder
from fmlab.data.raw.cells import joined
from fmlab.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

ROWS = 1 << 15
Spell = Callable[[Any], str | None]
Known = Callable[[list[str | None]], list[bool]]  # of each text, whether the encoder knows it


def frame_batches(frame: "pd.DataFrame", encoder: Encoder, *sides: Side) -> Iterator[Any]:
    """Dictionary-encoded text of the columns of the given sides (default: all) that the frame has, batch by batch.

    Raises DataError for a column that is there twice or whose cells are no values.
    """
    named: dict[str, list[int]] = {}
    for at, name in enumerate(frame.columns):
        named.setdefault(str(name), []).append(at)
    columns = [c for c in encoder.columns(*sides) if c.name in named]
    if twice := [c.name for c in columns if len(named[c.name]) > 1]:
        raise DataError(f"columns need different names, the frame has {twice[0]!r} twice")
    made = []
    for column in columns:
        known = [partial(encoder.known, name) for name in column.fields]
        made.append(_column(frame.iloc[:, named[column.name][0]], column.name, known))
    batch = pa.RecordBatch.from_arrays(made, names=[c.name for c in columns])
    for low in range(0, len(frame), ROWS):
        part = batch.slice(low, ROWS)
        yield pa.RecordBatch.from_arrays([_compact(c) for c in part.columns], names=part.schema.names)


def _compact(column: Any) -> Any:
    """Without texts of other rows, which would be encoded for each batch again."""
    return column.dictionary_decode().dictionary_encode()


def cells_batch(rows: Sequence[Mapping[str, Any]], encoder: Encoder, *sides: Side) -> Any:
    """One batch of rows that are mappings of a column to a cell: JSON, for instance. Columns that the first row lacks
    are not looked at; raises DataError for a row that differs from it, or a cell that is no value."""
    columns = [c for c in encoder.columns(*sides) if rows and c.name in rows[0]]
    made = []
    for column in columns:
        if any(column.name not in row for row in rows):
            raise DataError(f"rows of one request have the same columns, some have no {column.name!r}")
        known = [partial(encoder.known, name) for name in column.fields]
        cells = [row[column.name] for row in rows]
        if all(type(cell) is str for cell in cells):  # as a file would hold them
            with _named(column.name):
                made.append(pa.array([cell or None for cell in cells], pa.string()).dictionary_encode())
        else:
            with _named(column.name):
                made.append(_spelled(*_numbered(cells), known))
    return pa.RecordBatch.from_arrays(made, names=[c.name for c in columns])


@contextmanager
def _named(column: str) -> Iterator[None]:
    """Cells that have no text are a DataError that names their column."""
    try:
        yield
    except UnicodeEncodeError as error:
        bad = error.object[error.start : error.start + 1]
        raise DataError(f"column {column!r} must hold text of Unicode characters, got half of one: {bad!r}") from error
    except RecursionError as error:
        raise DataError(
            f"column {column!r} must hold numbers, texts, times or lists of them: too deep a list"
        ) from error
    except (TypeError, ValueError) as error:
        raise DataError(f"column {column!r} must hold numbers, texts, times or lists of them: {error}") from error


def _numbered(cells: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Number of each cell among the distinct values, -1 for a missing one."""
    places: dict[Any, int] = {}
    codes = [-1 if cell is None or cell != cell else places.setdefault(_settled(cell), len(places)) for cell in cells]
    return np.array(codes, np.int64), list(places)


def _column(series: "pd.Series[Any]", name: str, known: Sequence[Known]) -> Any:
    with _named(name):
        return _spelled(*_factorized(series), known)


def _spelled(codes: Any, values: list[Any], known: Sequence[Known]) -> Any:
    """The column as text, in the spelling of which most cells are known."""
    spelled = [[spell(value) for value in values] for spell in _spellings(values)]
    counts = np.bincount(codes[codes >= 0], minlength=len(values))

    def hits(texts: list[str | None]) -> int:
        return sum(int(counts @ of_field(texts)) for of_field in known)

    best = max(spelled, key=hits) if len(spelled) > 1 else spelled[0]
    places = pa.array(np.where(codes < 0, 0, codes).astype(np.int32), mask=codes < 0)
    return _compact(pa.DictionaryArray.from_arrays(places, pa.array([t or None for t in best] or [""], pa.string())))


def _factorized(series: "pd.Series[Any]") -> tuple[Any, list[Any]]:
    """Number of each cell's value among the distinct values, -1 for a missing one."""
    import pandas as pd

    if series.dtype == object:
        series = pd.Series([_settled(cell) for cell in series], dtype=object)
    codes, values = pd.factorize(series, use_na_sentinel=True)
    return np.asarray(codes), list(values)


def _settled(cell: Any) -> Any:
    """A cell that can be compared: lists as tuples, numbers of NumPy as Python's."""
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, dict):
        raise TypeError(f"an object is none of them, got {cell!r:.60}")
    if isinstance(cell, list | tuple | set | frozenset):
        return tuple(_settled(part) for part in cell)
    return ("true" if cell else "false") if isinstance(cell, bool) else cell  # True == 1, but it is another text


def _spellings(values: list[Any]) -> list[Spell]:
    """Ways in which files write such values, the likeliest first."""
    values = list(_flat(values))
    if any(isinstance(v, bool | np.bool_) or v in ("true", "false") for v in values):
        return [_text, partial(_text, yes_no=("True", "False")), partial(_text, yes_no=("1", "0"))]
    if any(isinstance(v, float | np.floating) for v in values):
        return [partial(_text, whole=True), _text]
    if any(isinstance(v, int | np.integer) for v in values):
        return [_text, partial(_text, fraction=True)]
    if any(isinstance(v, time) for v in values):
        digits = ("microseconds", "milliseconds", "seconds", "auto")
        return [partial(_text, timespec=timespec) for timespec in digits]
    if any(isinstance(v, date) for v in values):
        zones = (True, False) if any(getattr(v, "tzinfo", None) for v in values) else (False,)
        of_arrow = [partial(_moment, digits=digits, utc=utc) for digits in (6, 9, 3, 0) for utc in zones]
        return [_text, str, lambda v: str(v)[:10], *of_arrow]
    return [_text]


def _as_float(value: Any) -> Any:
    try:
        return float(value) if isinstance(value, int | np.integer) else value
    except OverflowError:  # a whole number of more than 308 digits is none of a file of floats
        return value


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple):
            yield from _flat(value)
        else:
            yield value


def _moment(value: Any, digits: int, utc: bool) -> str | None:
    """A time as Arrow writes it, in the zone that it has or in UTC, which Parquet keeps of it."""
    if not isinstance(value, datetime):
        return _text(value)
    value = value.astimezone(UTC) if utc else value
    fraction = f".{value.microsecond * 1000 + getattr(value, 'nanosecond', 0):09d}"[: digits + 1] if digits else ""
    zone = "" if value.tzinfo is None else f"{value:%z}" if value.utcoffset() else "Z"
    return f"{value:%Y-%m-%d %H:%M:%S}{fraction}{zone}"


def cell_text(value: Any) -> str | None:
    """A cell of a column of several types as text: numbers without a fraction as whole ones."""
    return _text(_settled(value), whole=True)


def _text(
    value: Any,
    yes_no: tuple[str, str] = ("true", "false"),
    whole: bool = False,
    fraction: bool = False,
    timespec: str = "auto",
) -> str | None:
    """A value as text: whole numbers among floats without a fraction if `whole`, all numbers with one if `fraction`."""
    if isinstance(value, tuple):
        return joined([_text(part, yes_no, whole, fraction, timespec) for part in value])
    if value is None or (isinstance(value, float | np.floating) and value != value):
        return None
    if isinstance(value, bool | np.bool_) or value in ("true", "false"):
        return yes_no[0] if value in (True, "true") else yes_no[1]
    if fraction:
        value = _as_float(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        return str(int(number)) if whole and number.is_integer() else repr(number)
    if isinstance(value, time):
        return value.isoformat(timespec)
    if isinstance(value, timedelta):  # in seconds, as preparation reads lengths of time
        seconds = value.total_seconds()
        return str(int(seconds)) if seconds.is_integer() else repr(seconds)
    if isinstance(value, date | datetime):  # pandas.Timestamp is a datetime
        return value.isoformat()
    if isinstance(value, dict):
        raise DataError(f"a cell must be a number, a text, a time or a list of them, got {value!r}")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
