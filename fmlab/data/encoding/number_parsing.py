"""Numbers of text columns: decimal signs, signs between thousands, and columns of true and false."""

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fmlab.data.encoding.vocabulary import value_places
from fmlab.data.schema import Array

BOOLEANS = {"false": 0.0, "true": 1.0}
SIGNS = {" ": " \u00a0\u202f", "'": "'\u2019"}  # what is written for a blank or an apostrophe between thousands


def parse_numbers(column: pa.DictionaryArray, decimal: str = ".", thousands: str = "") -> tuple[Array, list[str]]:
    """Numbers float64[n] of a dictionary-encoded column, and its distinct texts that are none; missing is NaN.

    The sign `thousands` may part groups of digits, the last of three, before the `decimal` sign. A column of true and
    false alone, in any case, is one of 1 and 0.
    """
    texts = column.dictionary
    if thousands:
        texts = _without(thousands, decimal, texts)
    if decimal != ".":
        texts = pc.replace_substring(texts, decimal, ".")
    try:
        values = texts.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        values = np.array([_number(text) for text in texts.to_pylist()], np.float64)
        if set(pc.utf8_lower(texts).to_pylist()) <= set(BOOLEANS):
            values = np.array([BOOLEANS[text.lower()] for text in texts.to_pylist()], np.float64)
    bad = column.dictionary.filter(pa.array(~np.isfinite(values))).to_pylist()
    return np.append(values, np.nan)[value_places(column, len(values))], bad


def _without(thousands: str, decimal: str, texts: Any) -> Any:
    """Texts without the signs that part thousands, where these are at their places; other texts become no numbers."""
    sign = f"[{re.escape(SIGNS.get(thousands, thousands))}]"
    number = rf"[+-]?\d{{1,3}}(?:{sign}\d{{2,3}})*{sign}\d{{3}}(?:{re.escape(decimal)}\d*)?(?:[eE][+-]?\d+)?"
    whole = re.compile(number)

    def without(text: str | None) -> str | None:
        if text is None or not re.search(sign, text):
            return text
        return re.sub(sign, "", text) if whole.fullmatch(text.strip()) else "no number"

    return pa.array([without(text) for text in texts.to_pylist()], pa.string())


def _number(text: str) -> float:
    try:
        return float("nan" if "_" in text else text)  # Python alone reads 1_000 as a number
    except ValueError:
        return float("nan")
