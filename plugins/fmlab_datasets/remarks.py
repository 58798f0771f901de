"""What is said of a table of the user's own: what a person would want to look at again."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fmlab.data import Dataset
from fmlab.errors import DataError
from fmlab.vocabulary import numbers

log = logging.getLogger(__name__)
MOSTLY = 0.9  # the share of rows with numbers from which a text among them is a mistake


def are_fractions(column: Any, decimal: str) -> bool:
    """Whether nearly all rows that are not missing hold numbers, some of them with this decimal sign."""
    texts = column.dictionary.to_pylist()
    if not any(decimal in t for t in texts):
        return False
    values, bad = numbers(column, decimal)
    fractions = any(decimal in t for t in texts if t not in bad)
    return bool(fractions and np.isfinite(values).sum() >= MOSTLY * (len(column) - column.null_count))


def tell_decimals(columns: Mapping[str, Any], decimal: str) -> None:
    """Say which columns that are no numbers would be with the other decimal sign."""
    other = "," if decimal == "." else "."
    if commas := [name for name, column in columns.items() if are_fractions(column, other)]:
        rule = "are taken for categories, and look like numbers with the decimal sign"
        log.warning("%s %s %r: decimal='%s' reads them so", ", ".join(commas), rule, other, other)


def tell(made: Dataset) -> None:
    """Say which fields do not vary, and from when to when the times are: a wrong unit shows there."""
    if same := [f.name for f in made.schema.fields if f.size == 2 and not f.numeric]:
        log.warning("%s: one value in all rows where there is any; ignore=[...] leaves it out", ", ".join(same))
    if made.time is not None:
        ends = (np.datetime64(int(t), "us").astype("datetime64[s]") for t in (made.time.min(), made.time.max()))
        log.info("times are from %s to %s", *(str(end).replace("T", " ") for end in ends))


def locate(path: str, root: Path) -> Path:
    """The file of a table, from the working folder or the root folder; raises DataError."""
    if not path:
        raise DataError("give path=<file>, the table to be read")
    places = [Path(path).expanduser().absolute(), (root / path).absolute()]
    for place in places:
        if place.is_dir():
            raise DataError(f"a table is a file, got the folder {place}")
        if place.is_file():
            return place
    raise DataError(f"the table is not there; looked for it at {', '.join(map(str, dict.fromkeys(places)))}")
