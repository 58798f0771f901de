"""What the columns of a table of the user's own are: how it is written, what is a feature, and of which kind."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fmlab.data.encoding.number_texts import listed
from fmlab.data.raw.table import HEAD_BYTES, batches
from fmlab.data.raw.table_format import BLANKS, TableFormat
from fmlab.errors import DataError, choices
from fmlab_datasets.warnings import are_numbers

log = logging.getLogger(__name__)
OFTEN = 0.05  # the share of distinct values with a `|` from which a column is taken for multi-valued
INDEX = re.compile(r"Unnamed: \d+(\.\d+)*|__index_level_\d+__")  # as pandas names the numbers of rows
ROLES = ("user", "item", "label", "time", "split", "weight")
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


def layout(form: TableFormat, header: bool | str | None) -> TableFormat:
    """The form that options ask for; raises DataError for those that contradict each other.

    Without `header` there is one, unless names are given.
    """
    form = replace(form, separator=form.separator.replace("\\t", "\t"))
    for name, sign in (("escape", form.escape), ("comment", form.comment)):
        if sign and ((name == "escape" and len(sign) != 1) or '"' in sign or sign == form.separator):
            raise DataError(f"{name} is one character, and neither a quote nor the separator, got {sign!r}")
    if form.escape and not form.quoted:
        raise DataError(f"escape={form.escape} is for quotes, and quoting=false takes them for any other character")
    has = not form.names if header == "auto" else header is True
    return replace(form, header=has)


def unknown_column(file: Path, form: TableFormat, column: str) -> DataError:
    """The error for an option that names a column that the table lacks."""
    found = f"{len(form.names)} column{'s' * (len(form.names) != 1)} found"
    if form.kind not in (".parquet", ".jsonl"):
        found += f" at sep={form.separator!r}"
    hints = []
    bare = [name.lstrip("#%/ ") for name in form.names]
    if form.header and column in bare and column not in form.names:
        named = listed([bare[0], *form.names[1:]])
        hints.append(f"the header begins with {form.names[0][0]!r}: header=true and names={named} name the columns")
    elif form.header and sum(bool(NUMBER.fullmatch(name)) for name in form.names) * 2 >= len(form.names):
        hints.append("is there no header? header=none names the columns 0, 1, 2, ..., names=[...] names them")
    elif form.header and form.names[0].startswith(("#", "%", "//")):
        hints.append(f"is the first line a comment? comment='{form.names[0][0]}' skips such lines")
    if form.separator != BLANKS and len(form.names) == 1 and re.search(r"\S[ \t]+\S", form.names[0]):
        hints.append(f"are columns parted by blanks? sep={BLANKS} reads them so")
    return DataError(
        f"{file} has no column {column!r} ({found}); {''.join(f'{h}; ' for h in hints)}{choices(column, form.names)}"
    )


def left_out(file: Path, form: TableFormat, fields: Sequence[str]) -> list[str]:
    """The columns among the fields that only number the rows, or hold nothing by their type; they are logged."""
    for name in (empty := [c for c in fields if c in form.empty]):
        log.warning("%s of %s is left out: its type holds no value", name, file.name)
    found = [c for c in fields if INDEX.fullmatch(c)]
    if not found:
        return empty
    first = next(batches(file, form, found, block=HEAD_BYTES))
    counting = [c for c in found if c not in empty and _counts_rows(first[c])]
    for name in counting:
        values = first[name].dictionary[:3].to_pylist()
        what = f"it numbers the rows ({', '.join(values)}, ...)" if values else "it has neither a name nor a value"
        log.warning("%s of %s is left out: %s; categorical=[...] would read it", name, file.name, what)
    return [*empty, *counting]


def _counts_rows(column: Any) -> bool:
    texts = column.dictionary.to_pylist()
    whole = all(re.fullmatch(r"\d+(\.0)?", text) for text in texts)
    return whole or len(texts) == len(column) - column.null_count > 1


def refuse_lists(file: Path, form: TableFormat, given: Mapping[str, Sequence[str]]) -> None:
    """Raise DataError if a column of lists has a role, or a kind that lists do not have."""
    for option, columns in given.items():
        if wrong := [c for c in columns if c in form.lists and option != "multi_valued"]:
            rule = f"column {wrong[0]!r} of {file} holds lists, and {option}= wants one value in a row"
            other = (
                "give another column" if option in ROLES else f"multi_valued=[{wrong[0]}] or drop_columns=[{wrong[0]}]"
            )
            raise DataError(f"{rule}: {other}")


def guess(column: Any, separator: str, decimal: str, thousands: str) -> str:
    """The kind of a column: numbers with fractions are numeric; whole ones may as well be names, and are categorical.

    Few texts among many numbers are mistakes, which the encoder reports.
    """
    if are_numbers(column, decimal, thousands):
        return "numeric"
    texts = column.dictionary.to_pylist()
    many = sum(separator in t for t in texts)
    return "multi_valued" if many > OFTEN * len(texts) else "categorical"
