"""Vectors and sequences of a table, joined to the data set that preparation made of its other columns."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fmlab.data.dataset import Dataset
from fmlab.data.encoding.auxiliary_field import AuxiliaryColumn
from fmlab.data.encoding.sequences import SequenceReader
from fmlab.data.encoding.vectors import VectorReader
from fmlab.data.encoding.vocabulary import Vocabulary
from fmlab.data.schema import Side
from fmlab.errors import DataError, choices


def auxiliary_columns(
    names: Iterable[str],
    sequences: Mapping[str, str],
    vectors: Iterable[str],
    sides: Mapping[str, Side],
    list_separator: str,
) -> list[AuxiliaryColumn]:
    """The plan of columns; raises DataError for one that is not among `names`."""
    made = [AuxiliaryColumn(n, "vector", sides.get(n, "context"), list_separator=list_separator) for n in vectors]
    made += [AuxiliaryColumn(n, "sequence", sides.get(n, "context"), v, list_separator) for n, v in sequences.items()]
    known = list(names)
    for column in made:
        if column.name not in known:
            raise DataError(f"the table has no column {column.name!r}; {choices(column.name, known)}")
    return made


def with_auxiliary(
    dataset: Dataset, stream: Iterable[Any], columns: Sequence[AuxiliaryColumn], workspace: Path, min_count: int = 1
) -> Dataset:
    """The data set with these fields, of a `stream` of its rows in their order: batches of dictionary-encoded text.

    Values of a vocabulary that belongs to sequences alone are unknown if seen fewer than `min_count` times. Raises
    DataError for vectors that are missing, ragged or not finite, and for attributes with several values.
    """
    if not columns:
        return dataset
    vocabularies = {c.vocabulary or c.name: Vocabulary() for c in columns if c.kind == "sequence"}
    readers: list[VectorReader | SequenceReader] = []
    for number, column in enumerate(columns):
        path = workspace / f"auxiliary-{number}"
        if column.kind == "vector":
            readers.append(VectorReader(dataset, column, path))
        else:
            vocabulary = vocabularies[column.vocabulary or column.name]
            readers.append(SequenceReader(dataset, column, path, vocabulary, min_count))
    start = 0
    for batch in stream:
        for reader in readers:
            reader.add(batch[reader.column.name], start)
        start += len(batch)
    for reader in readers:
        dataset = reader.joined(dataset)
    return dataset
