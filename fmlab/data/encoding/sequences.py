"""Sequences of users, items or rows: order and repeats are kept; ids that are not in the vocabulary are unknown."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fmlab.data.dataset import Dataset, PreparationStep, Ragged
from fmlab.data.encoding.auxiliary_field import AuxiliaryColumn, EntityRows, with_field
from fmlab.data.encoding.text_arrays import ArrowTexts
from fmlab.data.encoding.vocabulary import NpyAppender, Vocabulary, kept
from fmlab.data.raw.cells import ordered
from fmlab.data.schema import Array, Field


class SequenceReader(EntityRows):
    """Reads the sequences of one column, batch by batch, into files that begin with `path`.

    Ids of a vocabulary that belongs to sequences alone are unknown if seen fewer than `min_count` times.
    """

    def __init__(
        self, dataset: Dataset, column: AuxiliaryColumn, path: Path, vocabulary: Vocabulary, min_count: int
    ) -> None:
        super().__init__(dataset, column)
        self.vocabulary, self.min_count = vocabulary, min_count
        self.ends = NpyAppender(path.with_suffix(".ends.npy"), np.int64)
        self.codes = NpyAppender(path.with_suffix(".codes.npy"), np.int32)
        self.ids = path.with_suffix(".ids.npy")
        self.total = 0
        self.cells: dict[int, str | None] = {}
        self.count = dataset.entities(column.side)

    def add(self, column: Any, start: int) -> None:
        """Read a batch of dictionary-encoded text, whose first row has the number `start`; raises DataError."""
        texts = [*column.dictionary.to_pylist(), None]
        places = column.indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False)
        who = self.of(start, len(column))
        if self.index is None:
            self._write([texts[at] for at in places.tolist()])
            return
        for entity, at in zip(who.tolist(), places.tolist(), strict=True):
            if self.cells.setdefault(entity, texts[at]) != texts[at]:
                raise self.refuse_several(entity)

    def _write(self, cells: Sequence[str | None]) -> None:
        lists = [[] if cell is None else ordered(cell, self.column.list_separator) for cell in cells]
        flat = pa.array([part for values in lists for part in values], pa.string())
        self.codes.append(self.vocabulary.encode([flat]) if len(flat) else np.zeros(0, np.int32))
        ends = self.total + np.cumsum([len(values) for values in lists], dtype=np.int64)
        self.ends.append(ends)
        self.total = int(ends[-1]) if len(ends) else self.total

    def joined(self, dataset: Dataset) -> Dataset:
        """The data set with this field."""
        if self.index is not None:
            self._write([self.cells.get(n) for n in range(self.count)])
        ends, codes, schema, name = self.ends.close(), self.codes.close(), dataset.schema, self.column.vocabulary
        at = schema.owner(Field(self.column.name, self.column.side, 0, sequence=True, vocabulary=name))
        if at is None:
            name = name or self.column.name
            new = kept(self.vocabulary.counts, self.min_count)
            keys = {n: _text(dataset, n) for n in dataset.keys}
            keys[name] = self.vocabulary.keys.filter(pa.array(new[1:] > 0))
            dataset = replace(dataset, keys=ArrowTexts(keys))
            size = len(keys[name]) + 1
        else:
            place = {key: n for n, key in enumerate(dataset.keys[schema.fields[at].name].tolist(), 1)}
            new = np.array([0, *(place.get(key, 0) for key in self.vocabulary.keys.to_pylist())], np.int32)
            new += np.int32(schema.offsets[at])
            size = 0
        ids = NpyAppender(self.ids, np.int32)
        for low in range(0, len(codes), 1 << 20):
            ids.append(new[codes[low : low + (1 << 20)]])
        made = with_field(dataset, self.column, Ragged(ends, ids.close()), size=size)
        return _told(made, self.column.name, self.vocabulary, new, schema.fields[at].name if at is not None else "")


def _text(dataset: Dataset, name: str) -> Any:
    keys = dataset.keys
    return keys.column(name) if isinstance(keys, ArrowTexts) else pa.array(keys[name].tolist(), pa.string())


def _told(made: Dataset, name: str, vocabulary: Vocabulary, new: Array, owner: str) -> Dataset:
    """With a step that says how many ids of a sequence the shared vocabulary lacks."""
    lacking = np.flatnonzero(new[1:] == new[0]) if owner else np.zeros(0, np.int64)
    if not len(lacking):
        return made
    share = int(vocabulary.counts[1:][lacking].sum()) / max(1, int(vocabulary.counts[1:].sum()))
    schema = made.schema
    rule = f"{len(lacking):,} ids of {name} ({share:.1%} of its entries) are no values of {owner}: unknown"
    step = PreparationStep(rule, made.rows, schema.n_users, schema.n_items, schema.n_features)
    return replace(made, steps=(*made.steps, step))


def sequences_of(texts: Any, list_separator: str, codes: Mapping[str, int], unknown: int) -> tuple[Ragged, Array]:
    """Ids of the cells `texts[n]`, and how many of each are unknown."""
    lists = [[] if t is None else ordered(t, list_separator) for t in texts.to_pylist()]
    ids = [[codes.get(part, unknown) for part in cell] for cell in lists]
    return Ragged.of(ids), np.array([sum(part not in codes for part in cell) for cell in lists], np.int64)
