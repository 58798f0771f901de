"""Warnings about a table of the user's own: what a person would want to look at again."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fmlab.data import Array, Dataset
from fmlab.data.encoding.number_parsing import parse_numbers
from fmlab.data.encoding.number_texts import (
    SHOWN,
    THOUSANDS,
    UNIT,
    has_thousands,
    is_infinite,
    na_values_for,
    stands_for_nothing,
)

log = logging.getLogger(__name__)
NUMERAL = r"^[+-]?[.,]?\d[\d.,' _\x{a0}\x{202f}\x{2019}]*(e[+-]?\d+)?$"
SOME = 0.2  # of the distinct texts of a column, the numerals from which a closer look is taken
MOSTLY = 0.9  # the share of rows with numbers from which a text among them is a mistake


def are_numbers(column: Any, decimal: str, thousands: str = "") -> bool:
    """Whether nearly all rows that are not missing hold numbers, some of them with one of these signs."""
    texts = column.dictionary.to_pylist()
    signs = [sign for sign in (decimal, thousands) if sign]
    if not any(sign in text for text in texts for sign in signs):
        return False
    values, bad = parse_numbers(column, decimal, thousands)
    wrong = {text for text in bad if not is_infinite(text)}  # which the encoder refuses
    signed = any(sign in text for text in texts if text not in wrong for sign in signs)
    return bool(signed and (~np.isnan(values)).sum() >= MOSTLY * (len(column) - column.null_count))


def tell_signs(columns: Mapping[str, Any], decimal: str, thousands: str) -> None:
    """Say which of these columns, which are taken for categories, would be numbers if they were read otherwise."""
    for name, column in columns.items():
        if len(column.dictionary) and all(UNIT.search(text) for text in column.dictionary.to_pylist()):
            text = column.dictionary[0].as_py()
            rule = "%s is taken for categories, and holds numbers with a unit: %r written as %s would be a number"
            log.warning(rule, name, text, UNIT.sub("", text))
            continue
        if _share_of_numerals(column.dictionary) < SOME:
            continue
        texts = column.dictionary.to_pylist()
        nothing = [text for text in texts if stands_for_nothing(text)]
        rest = _without(column, nothing) if nothing else column
        if nothing and rest.null_count < len(rest) and are_numbers(rest, decimal, thousands):
            log.warning(
                "%s is taken for categories, and holds numbers but for %s: %s makes numbers of it",
                *(name, ", ".join(map(repr, nothing[:SHOWN])), na_values_for(nothing[:SHOWN])),
            )
            continue
        sign = next((sign for sign in THOUSANDS if sign != decimal and _has(rest.dictionary, sign)), "")
        if sign and not thousands and are_numbers(rest, decimal, sign):
            log.warning("%s is taken for categories, and looks like numbers: thousands=%r reads them so", name, sign)
            continue
        other = "," if decimal == "." else "."
        if are_numbers(rest, other):
            rule = "are taken for categories, and look like numbers with the decimal sign"
            log.warning("%s %s %r: decimal='%s' reads them so", name, rule, other, other)


def _share_of_numerals(texts: Any) -> float:
    """The share of texts that are made of digits and the signs of numbers."""
    return float(pc.mean(pc.match_substring_regex(texts, NUMERAL)).as_py() or 0.0)


def _without(column: Any, texts: Sequence[str]) -> Any:
    """The dictionary array with these texts missing."""
    left_out = set(texts)
    kept = pa.array([None if text in left_out else text for text in column.dictionary.to_pylist()], pa.string())
    return pa.DictionaryArray.from_arrays(column.indices, kept).dictionary_decode().dictionary_encode()


def _has(texts: pa.Array, sign: str) -> bool:
    """Whether all texts with this sign have it between thousands."""
    signed = [(s, texts.filter(pc.match_substring(texts, s)).to_pylist()) for s in THOUSANDS[sign]]
    return any(found for _, found in signed) and all(has_thousands(text, s) for s, found in signed for text in found)


def tell(made: Dataset) -> None:
    """Say which fields do not vary, and from when to when the times are: a wrong unit shows there."""
    if alone := [f.name for f in made.schema.fields if f.name in ("user", "item") and f.size == 2]:
        log.warning("%s: the same in all rows", " and ".join(alone))
    if same := [f.name for f in made.schema.fields if f.size == 2 and not f.numeric and f.name not in alone]:
        log.warning("%s: one value in all rows where there is any; drop_columns=[...] leaves it out", ", ".join(same))
    if none := [f.name for f in made.schema.fields if f.size == 1]:
        log.warning("%s: no value in any row; drop_columns=[...] leaves it out", ", ".join(none))
    for name in ("user", "item"):
        _tell_alike(name, made.keys.get(name, ()))
    if made.time is not None:
        ends = (np.datetime64(int(t), "us").astype("datetime64[s]") for t in (made.time.min(), made.time.max()))
        log.info("times are from %s to %s", *(str(end).replace("T", " ") for end in ends))


def _tell_alike(name: str, keys: Sequence[str] | Array) -> None:
    """Say which ids differ from each other by blanks, zeros or the encoding of accents alone: one entity, perhaps."""
    texts = pa.array(keys, pa.string())
    plain = pc.utf8_normalize(pc.utf8_trim_whitespace(texts), "NFC")
    plain = pc.replace_substring_regex(plain, r"^0+(\d)|^(-?\d+)\.0+$", r"\1\2")
    plain = pc.replace_substring_regex(plain, r"^0+(\d)", r"\1")
    counted = plain.value_counts()
    twice = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    if len(twice):
        shown = texts.filter(pc.equal(plain, twice[0]))[:2].to_pylist()
        rule = "%s: %s differ by blanks, zeros or the writing of accents alone, and are told apart%s"
        more = f"; {len(twice):,} such groups" if len(twice) > 1 else ""
        log.warning(rule, name, " and ".join(map(repr, shown)), more)
