"""Codes of a column to the features of its field: categories, several in a cell, intervals of numbers."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fmlab.data.encoding.plan import Plan
from fmlab.data.encoding.transforms import binned
from fmlab.data.encoding.vocabulary import Vocabulary, kept
from fmlab.data.raw.cells import split
from fmlab.data.schema import Array


@dataclass(frozen=True)
class Coder:
    """One field: `table[slots, codes]` holds the features of each code, counted from 0 = unknown."""

    table: Array
    keys: pa.Array


def coder(vocabulary: Vocabulary, counts: Array, plan: Plan, name: str) -> Coder:
    """`counts` are those of the codes in the rows that preparation may look at."""
    if name in plan.multi:
        return _split_cells(vocabulary, counts, plan)
    if name in plan.intervals:
        return _in_intervals(vocabulary, plan, name)
    new = kept(vocabulary.counts, 1) if name in (plan.user, plan.item) else kept(counts, plan.min_count)
    return Coder(new[None], vocabulary.keys.filter(pa.array(new[1:] > 0)))


def _in_intervals(vocabulary: Vocabulary, plan: Plan, name: str) -> Coder:
    """The numbers of a field as the intervals they are in."""
    labels = binned(name, np.array(plan.intervals[name]), plan.decimal)(vocabulary.keys)
    keys, table = np.unique(np.array(labels, object), return_inverse=True)
    codes = np.concatenate([[0], table.reshape(-1) + 1]).astype(np.int32)
    return Coder(codes[None], pa.array(keys.tolist(), pa.string()))


def _split_cells(vocabulary: Vocabulary, times: Array, plan: Plan) -> Coder:
    """Whole cells were encoded; each distinct one is split into features here, repeats within a cell once."""
    inner: dict[str, int] = {}
    cells = [
        [inner.setdefault(part, len(inner) + 1) for part in split(key, plan.list_separator)]
        for key in vocabulary.keys.to_pylist()
    ]
    table = np.zeros((len(cells) + 1, max([1, *map(len, cells)])), np.int32)
    for row, codes in enumerate(cells, 1):
        table[row, : len(codes)] = codes
    counts = np.zeros(len(inner) + 1, np.int64)
    np.add.at(counts, table, times[:, None])
    new = kept(counts, plan.min_count)
    keys = pa.array([key for key, code in inner.items() if new[code]], pa.string())
    return Coder(np.ascontiguousarray(new[table.T]), keys)
