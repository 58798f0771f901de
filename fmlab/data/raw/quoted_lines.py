"""Quoted cells of delimited text: which line ends end a row, and which are inside quotes."""

from typing import Any, NamedTuple

import numpy as np

from fmlab.data.schema import Array

PIECE = 1 << 18  # bytes that stay in the cache
QUOTE, LINE = ord('"'), ord("\n")


class Lines(NamedTuple):
    """Line ends of a text: `places` int64[n], whether quotes enclose each, and the field that is open at the end.

    `opened` is the place of the quote that begins this field, -1 if none is open.
    """

    places: Array
    enclosed: Array
    opened: int


def count_quotes(text: memoryview) -> int:
    """The number of quotes."""
    data = np.frombuffer(text, np.uint8)
    return sum(int(np.count_nonzero(data[n : n + PIECE] == QUOTE)) for n in range(0, len(data), PIECE))


def line_ends(text: memoryview, separators: bytes, escape: str = "") -> Lines:
    """The line ends of a text that begins with a row.

    A quote that is the first character of a field opens it; elsewhere in an unquoted field it is a character. Two
    quotes in a quoted field stand for one, and a quote after the character `escape` is a character.
    """
    data = np.frombuffer(text, np.uint8)
    ends, marks = np.flatnonzero(data == LINE), np.flatnonzero(data == QUOTE)
    if escape:
        marks = marks[~_escaped(data, marks, ord(escape))]
    before = np.where(marks > 0, data[marks - 1], LINE)
    first = np.isin(before, np.frombuffer(separators + b"\r\n", np.uint8))
    doubled = np.append(False, np.diff(marks) == 1)
    if (first | doubled)[::2].all():  # no quote stands within an unquoted field: they open and close in turn
        enclosed = np.searchsorted(marks, ends) % 2 == 1
        odd = len(marks) % 2
        opened = int(marks[: len(marks)][::2][first[::2]][-1]) if odd else -1
        return Lines(ends, enclosed, opened)
    starts, stops = _fields(marks.tolist(), first.tolist())
    opened = starts[-1] if len(starts) > len(stops) else -1
    inside = np.searchsorted(starts, ends) > np.searchsorted(stops, ends)
    return Lines(ends, inside, opened)


def _fields(marks: list[int], first: list[bool]) -> tuple[list[int], list[int]]:
    """Where quoted fields begin and end; the last one may have no end."""
    starts, stops, at, count = [], [], 0, len(marks)
    while at < count:
        if not first[at]:
            at += 1
            continue
        starts.append(marks[at])
        at += 1
        while at + 1 < count and marks[at + 1] == marks[at] + 1:
            at += 2
        if at < count:
            stops.append(marks[at])
        at += 1
    return starts, stops


def _escaped(data: Array, marks: Array, escape: int) -> Array:
    """Whether an odd number of escape characters stands before each mark."""
    found = np.zeros(len(marks), bool)
    for n in np.flatnonzero((marks > 0) & (data[marks - 1] == escape)).tolist():
        at = int(marks[n]) - 1
        while at >= 0 and data[at] == escape:
            at -= 1
        found[n] = (int(marks[n]) - 1 - at) % 2 == 1
    return found


def swallowed(text: Any, lines: Lines, separator: bytes, columns: int) -> tuple[int, int, int]:
    """Rows over several lines: how many there are, how many of them look like several rows, and the first of these.

    A quote that is never closed makes one cell of several rows: then each of its lines has as many columns as a row.
    """
    inside = np.flatnonzero(lines.enclosed)
    groups = np.split(inside, np.flatnonzero(np.diff(inside) > 1) + 1) if len(inside) else []
    found, place = 0, -1
    whole = bytes(text)
    for group in groups:
        before, after = int(group[0]) - 1, int(group[-1]) + 1
        start = int(lines.places[before]) + 1 if before >= 0 else 0
        stop = int(lines.places[after]) if after < len(lines.places) else len(whole)
        if all(line.count(separator) + 1 == columns for line in whole[start:stop].split(b"\n")):
            found += 1
            place = start if place < 0 else place
    return len(groups), found, place
