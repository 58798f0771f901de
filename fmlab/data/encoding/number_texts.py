"""Messages about texts among numbers: missing values written out, signs of another country, and two labels."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fmlab.data.encoding.number_parsing import BOOLEANS, parse_numbers
from fmlab.data.schema import Array
from fmlab.errors import DataError

log = logging.getLogger(__name__)
SHOWN = 5
PLAIN = re.compile(r"(?!(true|false|null|inf|nan)$)[A-Za-z][\w/.]*", re.IGNORECASE)  # text to Hydra without quotes
NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")
UNIT = re.compile(r"^\s*[$€£¥₹]\s*(?=[+-]?\d[\d.,]*\s*$)|(?<=\d)\s*[%$€£¥₹]\s*$")
MINUS = "\u2212"
# What programs write where there is no value.
NOTHING = {
    *("na", "n/a", "n.a.", "#n/a", "<na>", "nan", "-nan", "null", "(null)", "none", "nil", "nat", "missing", "unknown"),
    *("undefined", "empty", "?", "??", "-", "--", "---", "\u2013", "\u2014", ".", "..", "*", "\\n"),
    *("#null!", "#value!", "#div/0!"),
}
POSITIVE = ("true", "t", "yes", "y")
NEGATIVE = ("false", "f", "no", "n")
WORDS: Mapping[str, float] = {**dict.fromkeys(POSITIVE, 1.0), **dict.fromkeys(NEGATIVE, 0.0)}
THOUSANDS = {",": ",", ".": ".", " ": " \u00a0\u202f", "'": "'\u2019", "_": "_"}


def stands_for_nothing(text: str) -> bool:
    """Whether a text is what programs write for a missing value."""
    return not text.strip() or text.strip().casefold() in NOTHING


def typed(text: str) -> str:
    """A text as it is typed on the command line."""
    return text if PLAIN.fullmatch(text) else repr(text)


def listed(texts: Iterable[str]) -> str:
    """A list as it is typed on the command line."""
    return f"[{','.join(map(typed, texts))}]"


def na_values_for(texts: Iterable[str]) -> str:
    """The option that takes texts for missing values, as it is typed in a shell."""
    option = f"na_values={listed(texts)}"
    return f'"data.{option}"' if "'" in option or '"' in option else option


def is_infinite(text: str) -> bool:
    """Whether a text is a number beyond all finite ones: inf, -Infinity, 1e400."""
    try:
        return "_" not in text and abs(float(text)) == float("inf")
    except ValueError:
        return False


def has_thousands(text: str, sign: str) -> bool:
    """Whether a text is a number whose thousands are set apart by this sign: 1,001 or 12,345.6, not 0,125."""
    return bool(re.fullmatch(rf"[+-]?[1-9]\d{{0,2}}(?:{re.escape(sign)}\d\d\d)+(?:[.,]\d+)?", text.strip()))


def hint(bad: Sequence[str], decimal: str, thousands: str = "") -> str:
    """What may make numbers of these texts; empty if nothing is likely."""
    said = []
    if nothing := [text for text in bad if stands_for_nothing(text) or is_infinite(text)]:
        said.append(f"{na_values_for(nothing[:SHOWN])} takes such texts for missing values")
    rest = [text for text in bad if text not in set(nothing)]
    if signed := next((text for text in rest if MINUS in text), ""):
        said.append(f"the minus sign is '-', {signed!r} has another one (U+{ord(MINUS):04X})")
    if united := next((text for text in rest if UNIT.search(text)), ""):
        said.append(f"numbers have no unit: write {united!r} as {UNIT.sub('', united)}")
    signs = [sign for sign in THOUSANDS if sign != decimal and not thousands]
    other = "," if decimal == "." else "."
    if grouped := next((found for sign in signs if (found := _grouped(rest, sign))), ()):
        said.append(f"thousands={grouped[0]!r} reads {grouped[1]!r} as {grouped[2]}")
    elif any(re.fullmatch(rf"[+-]?\d*{re.escape(other)}\d+", text) for text in rest):
        said.append(f"is the decimal sign {other!r}? decimal='{other}' reads it")
    return f"; {', and '.join(said)}" if said else ""


def _grouped(texts: Sequence[str], sign: str) -> tuple[str, str, str] | tuple[()]:
    """The sign between thousands, a text with it and its value, if all texts with the sign have it there."""
    signed = [(text, s) for text in texts for s in THOUSANDS[sign] if s in text]
    if not signed or not all(has_thousands(text, s) for text, s in signed):
        return ()
    text, s = signed[0]
    return sign, text, text.replace(s, "")


def refusal(name: str, bad: Sequence[str], row: int, advice: str) -> DataError:
    """The error for a column in which these texts are no numbers, the first in this row of the data."""
    shown = ", ".join(map(repr, bad[:SHOWN]))
    rule = f"column {name!r} must hold finite numbers, {len(bad)} values are none"
    return DataError(f"{rule}, the first in data row {row}: {shown}{advice}")


class Labels:
    """The labels of a column, batch by batch: numbers, or 1 for `positive` (or true, yes) and 0 for other texts."""

    def __init__(self, name: str, positive: str, decimal: str, thousands: str) -> None:
        self.name, self.positive, self.decimal, self.thousands = name, positive, decimal, thousands
        self.texts: dict[str, None] = {}  # some that were met
        self.hits, self.words, self.other = 0, "", ""  # a word for 0 or 1, and a number that is neither
        self.meant: dict[str, float] = {}  # words, and what they were taken for

    def read(self, column: Any, before: int) -> Array:
        """Labels float64[rows], NaN where missing, of a batch after so many rows; raises DataError."""
        texts = column.dictionary.to_pylist()
        if self.positive:
            self.texts |= dict.fromkeys(texts[: SHOWN - len(self.texts)])
            hit = np.array([_same(text, self.positive) for text in texts], np.float64)
            values = self._spread(column, hit)
            self.hits += int(np.nansum(values))
            return values
        values, bad = parse_numbers(column, self.decimal, self.thousands)
        known = {text: WORDS.get(text.strip().casefold()) for text in bad}
        if unknown := [text for text, value in known.items() if value is None]:
            row = before + 1 + int(np.argmax(np.isin(np.asarray(column.to_pylist(), object), unknown)))
            advice = hint(unknown, self.decimal, self.thousands) + self._advice(texts, unknown)
            raise refusal(self.name, unknown, row, advice)
        distinct, _ = parse_numbers(column.dictionary.dictionary_encode(), self.decimal, self.thousands)
        for at, text in enumerate(texts) if known else ():
            distinct[at] = distinct[at] if known.get(text) is None else known[text]
        whole = next(iter(known), texts[0] if texts and texts[0].lower() in BOOLEANS else "")
        strange = np.flatnonzero(~np.isin(distinct, (0, 1)))
        if whole:
            self.meant |= {t: v for t, v in zip(texts, distinct.tolist(), strict=True) if t.strip().casefold() in WORDS}
        self.words, self.other = self.words or whole, self.other or (texts[strange[0]] if len(strange) else "")
        if self.words and self.other:
            rule = f"column {self.name!r} mixes {self.words!r} and {self.other!r}"
            raise DataError(f"{rule}: labels are numbers, or they are words; positive=<text> names the one that is 1")
        return self._spread(column, distinct) if known else values

    def close(self) -> None:
        """Say which words were taken for 1 and 0; raise DataError if no row had the positive text."""
        if self.positive and not self.hits:
            shown = ", ".join(map(repr, self.texts))
            raise DataError(f"no row of column {self.name!r} has the positive label {self.positive!r}; it has {shown}")
        if self.words:
            told = ", ".join(f"{text!r} is {value:g}" for text, value in self.meant.items())
            log.info("column %r holds words as labels: %s", self.name, told)

    def _advice(self, texts: Sequence[str], unknown: Sequence[str]) -> str:
        named = [text for text in texts if not stands_for_nothing(text)]
        if len(unknown) < len(named) or len(named) > SHOWN or all(map(stands_for_nothing, unknown)):
            return ""
        if any(re.match(r"\W*\d", text) for text in named):  # quantities, no names of classes
            return ""
        if len(named) == 2:
            first, second = map(typed, named)
            return f"; positive={first} or positive={second} names the one that is 1, the other is 0"
        return "; positive=<text> names the text that is 1, others are 0"

    @staticmethod
    def _spread(column: Any, known: Array) -> Array:
        places = column.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
        return np.append(known, np.nan)[places]


def _same(text: str, positive: str) -> bool:
    if text == positive:
        return True
    if NUMBER.fullmatch(positive) and NUMBER.fullmatch(text):
        return float(text) == float(positive)
    return positive.casefold() in ("true", "false") and text.casefold() == positive.casefold()
