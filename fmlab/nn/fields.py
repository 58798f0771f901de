"""Reading a row field by field: the sum of each field's vectors, whatever the number of its slots and its size."""

from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.geometry import Geometry
from fmlab.nn.init import weights_and_vectors
from fmlab.nn.sparse_lookup import gather, pool


class FieldSums(NamedTuple):
    """What `FieldEmbeddings` gives for some neighboring fields.

    `weight[*batch]`: `sum w x`, or 0 without weights. `sums[*batch, widths]`: for each field, in order, the sum of
    `x v` over its slots. `slots`: of each multi-valued field, its number and its `x v`, `[*batch, slots, width]`.
    """

    weight: Tensor | float
    sums: Tensor
    slots: list[tuple[int, Tensor]]


class FieldEmbeddings(nn.Module):
    """Vectors whose width depends on the field, with a first-order weight beside each if wanted.

    Neighboring fields of one width share a table: with one width for all there is one table. With a curved geometry
    vectors are read as those of points in the ambient space, which are wider.
    """

    def __init__(
        self,
        schema: Schema,
        widths: tuple[int, ...],
        *,
        std: float,
        weights: bool,
        geometry: Geometry | None = None,
    ) -> None:
        """One width for each field. Weights start at 0, vectors at N(0, std)."""
        super().__init__()
        self.geometry = Geometry() if geometry is None else geometry
        self.slots = tuple(f.slots for f in schema.fields)
        self.sizes = tuple(f.size for f in schema.fields)
        runs = (list(run) for _, run in groupby(range(len(widths)), key=widths.__getitem__))
        self.runs = [range(run[0], run[-1] + 1) for run in runs]
        self.first = int(weights)
        tables = []
        for run in self.runs:
            rows = sum(self.sizes[f] for f in run)
            start = weights_and_vectors(rows, widths[run.start], std)[:, 1 - self.first :].contiguous()
            start = self.geometry.table(start, first=self.first)
            tables.append(EmbeddingTable(start, first=schema.offsets[run.start]))
        self.tables = nn.ModuleList(tables)

    def forward(self, ids: Tensor, values: Tensor | None, fields: range) -> FieldSums:
        """`ids[*batch, c]`: the columns of `fields`, which are neighbors."""
        weight: Tensor | float = 0.0
        parts: list[Tensor] = []
        slots: list[tuple[int, Tensor]] = []
        stop = 0
        for run, table in zip(self.runs, self.tables, strict=True):
            read = range(max(run.start, fields.start), min(run.stop, fields.stop))
            if not read:
                continue
            start, stop = stop, stop + sum(self.slots[f] for f in read)
            assert isinstance(table, EmbeddingTable)
            x = None if values is None else values[..., start:stop]
            rows, at = table.rows(ids[..., start:stop])
            if self.first:
                weight = weight + pool(rows[:, :1], at, x).squeeze(-1)
            vectors = gather(self.geometry.lift(rows[:, self.first :]), at)
            if x is not None:
                vectors = vectors * x.unsqueeze(-1)
            self._sum(vectors, read, parts, slots)
        return FieldSums(weight, parts[0] if len(parts) == 1 else torch.cat(parts, -1), slots)

    def vectors(self, field: int) -> Tensor:
        """The vectors of all features of a field, `[size, width]`."""
        return self.geometry.lift(self._rows(field)[:, self.first :])

    def weights(self, field: int) -> Tensor:
        """The first-order weights of all features of a field, `[size]`."""
        return self._rows(field)[:, 0]

    def _rows(self, field: int) -> Tensor:
        run, table = next((r, t) for r, t in zip(self.runs, self.tables, strict=True) if field in r)
        assert isinstance(table, EmbeddingTable)
        start = sum(self.sizes[f] for f in range(run.start, field))
        return table.dense()[start : start + self.sizes[field]]

    def _sum(self, vectors: Tensor, read: range, parts: list[Tensor], slots: list[tuple[int, Tensor]]) -> None:
        """Append the sums of `vectors[*batch, c, width]`; neighbors of one slot each are taken as they stand."""
        stop = 0
        for several, run in groupby(read, key=lambda f: f if self.slots[f] > 1 else None):
            start, stop = stop, stop + sum(self.slots[f] for f in run)
            part = vectors[..., start:stop, :]
            if several is None:
                parts.append(part.flatten(-2))
            else:
                parts.append(part.sum(-2))
                slots.append((several, part))


def query_and_item(schema: Schema) -> tuple[range, range]:
    """The fields known before an item is chosen, and those of the item."""
    n = sum(f.side != "item" for f in schema.fields)
    return range(n), range(n, len(schema.fields))
