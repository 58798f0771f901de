"""A field beside the features of rows, a vector or a sequence: its column, whose it is, and how a data set gets it."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from fmlab.data.dataset import Dataset, FieldEncoding
from fmlab.data.schema import Array, Field, Side
from fmlab.errors import DataError


@dataclass(frozen=True)
class AuxiliaryColumn:
    """A column that becomes a vector or a sequence field of its name.

    `vocabulary` of a sequence: the field whose features its ids are, or a name that sequences share; empty for one of
    its own. Cells are lists, or text that is split at `list_separator`.
    """

    name: str
    kind: Literal["vector", "sequence"]
    side: Side
    vocabulary: str = ""
    list_separator: str = "|"


class EntityRows:
    """Which users, items or rows the rows of a table are."""

    def __init__(self, dataset: Dataset, column: AuxiliaryColumn) -> None:
        names = [f.name for f in (*dataset.schema.fields, *dataset.schema.auxiliary)]
        if column.name in names or column.name in ("user", "item"):
            raise DataError(f"field names must be unique, a {column.kind} must not be called {column.name!r}")
        self.column = column
        self.index = {"user": dataset.user, "item": dataset.item, "context": None}[column.side]
        if self.index is None and column.side != "context":
            raise DataError(
                f"{column.kind} {column.name!r} is of the {column.side}, and the data have no {column.side}"
            )
        self.names = dataset.keys.get(column.side)

    def of(self, start: int, count: int) -> Array:
        """Numbers of the users, items or rows of the table's rows from `start` on, int64[count]."""
        return np.arange(start, start + count) if self.index is None else np.asarray(self.index[start : start + count])

    def called(self, who: int) -> str:
        """The user, item or row of a number, for messages."""
        if self.index is None:
            return f"data row {who + 1}"
        return f"{self.column.side} {str(self.names[who]) if self.names is not None else who!r}"

    def refuse_several(self, who: int) -> DataError:
        """The error for a user or an item with several values."""
        side = self.column.side
        rule = f"column {self.column.name!r} must have one value for each {side}, {self.called(who)} has several"
        return DataError(f"{rule}; take it out of {side}_fields")


def with_field(dataset: Dataset, column: AuxiliaryColumn, made: Any, size: int = 0) -> Dataset:
    """The data set with one field more."""
    if column.kind == "vector":
        field = Field(column.name, column.side, 0, width=int(made.shape[1]))
        more: dict[str, Any] = {"vectors": {**dataset.vectors, column.name: made}}
    else:
        vocabulary = column.vocabulary if column.vocabulary != column.name else ""
        field = Field(column.name, column.side, size, sequence=True, vocabulary=vocabulary)
        more = {"sequences": {**dataset.sequences, column.name: made}}
    schema = replace(dataset.schema, auxiliary=(*dataset.schema.auxiliary, field))
    given = FieldEncoding(column.name, list_separator=column.list_separator)
    return replace(dataset, schema=schema, inputs={**dataset.inputs, column.name: given}, **more)
