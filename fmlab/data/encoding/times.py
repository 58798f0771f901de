"""Times as they are written: numbers since 1970 in some unit, dates of digits alone, or ISO 8601."""

import re
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fmlab.data.encoding.number_parsing import parse_numbers
from fmlab.data.encoding.number_texts import na_values_for, stands_for_nothing
from fmlab.data.schema import SECOND, Array
from fmlab.errors import DataError

UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
SHORT = ("s", "ms", "us", "ns")
# 1e10 is the year 2286 in seconds, and April 1970 in milliseconds.
FROM = (1e10, 1e13, 1e16)  # the absolute numbers from which the next unit is read
RECENT = 3e8  # seconds: 1979
# Numbers are small, or of a recent date in seconds, or of none, or of a recent date in milliseconds, and so on.
_EDGES = np.array([edge * 1000.0**unit for unit in range(4) for edge in (RECENT, FROM[0])])
DIGITS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_COMPACT = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[01]\d|2[0-3])?(?:[0-5]\d){0,2}")
FEW, MANY = 1000, 0.3  # of a sample of numbers, the share of dates from which the others are mistakes
COMPACT, ISO = "digits", "iso"
RULE = "must hold seconds, milliseconds, or ISO 8601 times, all with a time zone or none"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Times:
    """The times of a column, batch by batch: int64[rows], microseconds since 1970.

    The unit of numbers is found from the largest of all; `factor` says what batches read before it was known lack.
    """

    def __init__(self, name: str, unit: str = "") -> None:
        """`unit` is one of `SHORT`, or empty if it is to be found out."""
        self.name, self.fixed = name, SHORT.index(unit) if unit else None
        self.form = ""  # one of SHORT, COMPACT, ISO once it is known
        self.zoned: bool | None = None
        self.seen = np.zeros(len(_EDGES) + 1, np.int64)
        self.parts: list[tuple[int, int]] = []  # rows, and the unit they were read in

    def read(self, column: Any) -> tuple[Array, Array]:
        """Microseconds int64[rows] of a batch, and which rows are missing; raises DataError."""
        values, bad = parse_numbers(column)
        missing = np.isnan(values) if not bad else np.asarray(column.is_null())
        if bad:
            return self._coded(column, self._iso(column.dictionary)), missing
        if self.fixed is None and (dates := self._compact(column, values)) is not None:
            return self._coded(column, dates), missing
        self._become("number")
        self.seen += np.bincount(np.searchsorted(_EDGES, np.abs(values), side="right"), minlength=len(self.seen))[
            : len(self.seen)
        ]
        unit = self.unit()
        self.parts.append((len(values), unit))
        return np.rint(np.nan_to_num(values) * (SECOND / 1000**unit)).astype(np.int64), missing

    def unit(self) -> int:
        """The place in `UNITS` of the unit of the numbers so far."""
        if self.fixed is not None:
            return self.fixed
        there = np.flatnonzero(self.seen)
        return min(int(there[-1]) // 2, len(UNITS) - 1) if len(there) else 0

    def close(self) -> str:
        """How times are written: one of `SHORT`, `COMPACT` or `ISO`. Raises DataError where numbers mix units."""
        if self.form != "number":
            return self.form or SHORT[0]
        last = self.unit()
        for unit in range(last if self.fixed is None else 0):
            recent, between = self.seen[2 * unit + 1], self.seen[2 * unit + 2 : 2 * last + 1 : 2]
            if recent and not between.any():
                raise DataError(f"column {self.name!r} mixes {UNITS[unit]} and {UNITS[last]}")
        return SHORT[last]

    def correct(self, times: Array) -> None:
        """Bring the times of batches that were read before the unit was known to it, in place."""
        at, last = 0, self.unit()
        for rows, unit in self.parts:
            if unit != last:
                part = times[at : at + rows]
                part[:] = np.rint(part / 1000.0 ** (last - unit))
            at += rows

    def _become(self, form: str) -> None:
        if self.form not in ("", form):
            words = {"number": "numbers", COMPACT: "dates of digits (YYYYMMDD)", ISO: "ISO 8601 times"}
            raise DataError(f"column {self.name!r} mixes {words[self.form]} and {words[form]}: it {RULE}")
        self.form = form

    def _compact(self, column: Any, values: Array) -> Array | None:
        """Microseconds of the distinct texts if all are dates of digits alone, and the column may hold such."""
        if self.form not in ("", COMPACT) or np.isnan(values).all():
            return None
        few = column.dictionary[:FEW].to_pylist()
        if not self.form and sum(map(bool, map(_COMPACT.fullmatch, few))) < MANY * len(few):
            return None
        texts = column.dictionary.to_pylist()
        if others := [text for text in texts if not _COMPACT.fullmatch(text)]:
            date = next(filter(_COMPACT.fullmatch, texts), "20140131")
            rule = f"column {self.name!r} mixes dates of digits, {date}, and other numbers, {others[0]}"
            raise DataError(f"{rule}; {na_values_for(others[:3])} takes them for missing, time_unit=s for seconds")
        try:
            found = [_micros(_moment_of_digits(text)) for text in texts]
        except ValueError:
            return None
        self._become(COMPACT)
        return np.array(found, np.int64)

    def _iso(self, texts: Any) -> Array:
        """Microseconds of distinct texts; raises DataError."""
        self._become(ISO)
        try:
            zones = {_is_zoned(text) for text in texts.to_pylist()}
            zoned = zones.pop() if len(zones) == 1 else None
            if zoned is None or self.zoned not in (None, zoned):
                raise DataError(f"column {self.name!r} {RULE}: some have a zone and some have none")
            self.zoned = zoned
            return _arrow(texts, zoned)
        except pa.ArrowInvalid:
            try:
                return np.array([_micros(_moment_of_iso(text)) for text in texts.to_pylist()], np.int64)
            except ValueError as error:
                raise DataError(f"column {self.name!r} {RULE}: {error}{_advice(texts.to_pylist())}") from error

    @staticmethod
    def _coded(column: Any, known: Array) -> Array:
        places = column.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
        return np.append(known, 0)[places]


def moment(text: str, form: str = "") -> datetime:
    """The date and time of a text, with its zone if it has one; raises DataError.

    `form` is what `Times.close` gave for the column; without it the unit of a number is found from its size.
    """
    try:
        number = float(text)
    except ValueError:
        try:
            return _moment_of_iso(text)
        except ValueError as error:
            raise DataError(f"a time is a number since 1970 or ISO 8601, got {text!r}") from error
    try:
        if form == COMPACT:
            return _moment_of_digits(text)
        unit = SHORT.index(form) if form in SHORT else int(np.searchsorted(FROM, abs(number)))
        return datetime.fromtimestamp(number / 1000**unit, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise DataError(f"a time since 1970 must be a date of the calendar, got {text!r}") from error


def _advice(texts: list[str]) -> str:
    if nothing := [text for text in texts if stands_for_nothing(text)]:
        return f"; {na_values_for(nothing[:3])} takes such texts for missing"
    if any(re.match(r"\d\d?([./-])\d\d?\1\d{2,4}", text) for text in texts):
        return "; which of day and month comes first is not told by such dates: write them as 2014-01-31"
    return ""


def _arrow(texts: Any, zoned: bool) -> Array:
    zone = "UTC" if zoned else None
    try:
        moments = pc.cast(texts, pa.timestamp("us", zone))
    except pa.ArrowInvalid:
        moments = pc.cast(pc.cast(texts, pa.timestamp("ns", zone)), pa.timestamp("us", zone), safe=False)
    found: Array = moments.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return found


def _is_zoned(text: str) -> bool:
    text = text.strip()
    return (
        text[-1:] in "Zz" or text.endswith((" UTC", " GMT")) or bool(re.search(r"\d[ ]?[+-]\d\d(:?\d\d)?$", text[10:]))
    )


def _moment_of_iso(text: str) -> datetime:
    """Also with slashes between the parts of a date, and with a blank or a word before the zone."""
    text = re.sub(r"\s*(?:UTC|GMT|[zZ])$", "+00:00", text.strip())
    text = re.sub(r"\s+([+-]\d\d:?\d\d)$", r"\1", text)
    text = re.sub(r"^(\d{4})/(\d{1,2})/(\d{1,2})", lambda m: f"{m[1]}-{int(m[2]):02}-{int(m[3]):02}", text)
    if re.fullmatch(r"\d{4}-\d\d", text):
        text += "-01"
    return datetime.fromisoformat(text)


def _moment_of_digits(text: str) -> datetime:
    if len(text) not in DIGITS:
        raise ValueError(f"no date of digits: {text!r}")
    padded = text + "00000000000000"[len(text) :]
    return datetime.strptime(padded, DIGITS[14]).replace(tzinfo=UTC)


def _micros(moment: datetime) -> int:
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    span = zoned - EPOCH
    return (span.days * 86_400 + span.seconds) * SECOND + span.microseconds
