"""Embedding tables whose rows are shared by features, in place of the tables of any model."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fmlab.contracts.table import RowSharing
from fmlab.data import Schema
from fmlab.errors import FmlabError
from fmlab.manifolds import Euclidean, ManifoldParameter, manifold_of, step_scale_of
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.sparse_lookup import IdGrouping, gather, incidence, read


class CompressedTable(EmbeddingTable):
    """A table of `n` features in component tables of fewer rows: a row is their rows, multiplied or added.

    Gradients of the components are row-sparse, as those of a whole table. The first component starts with rows of the
    whole table; the others start as that which changes nothing, ones or zeros.
    """

    def __init__(self, whole: EmbeddingTable, sharing: RowSharing) -> None:
        """In place of `whole`. Raises FmlabError for several components whose rows are points of a curved space."""
        nn.Module.__init__(self)
        self.first, self.of_features, self.features = whole.first, False, len(whole.weight)
        self.sharing, self.product = sharing, sharing.combine == "product"
        start = whole.weight.detach()
        curved = not isinstance(manifold_of(whole.weight), Euclidean)
        if curved and len(sharing.rows) > 1:
            raise FmlabError(
                f"rows that are combined by {sharing.combine} must be those of flat space, got points of a "
                f"{type(manifold_of(whole.weight)).__name__} manifold; table=hashed has one row for each"
            )
        parts = [start[: sharing.rows[0]].clone()]
        parts += [torch.full((n, start.shape[1]), float(self.product)) for n in sharing.rows[1:]]
        self.parts = nn.ParameterList(
            ManifoldParameter(p, manifold_of(whole.weight), step_scale=step_scale_of(whole.weight))
            if curved
            else nn.Parameter(p)
            for p in parts
        )

    def feature_rows(self) -> dict[str, range]:
        """None: a row belongs to several features."""
        return {}

    def embedding_parameters(self) -> list[str]:
        """Parameters that are embeddings though no row is that of one feature."""
        return [f"parts.{n}" for n in range(len(self.parts))]

    def rows(self, ids: Tensor) -> tuple[Tensor, IdGrouping]:
        """The distinct rows that `ids[*batch, c]` read, `[d, width]`, and which of them stands where."""
        local = self._local(ids).long()
        if len(self.parts) == 1:
            at = incidence(self.sharing(local.reshape(-1))[0].view(ids.shape))
            return read(self.parts[0], at), at
        at = incidence(local)
        first, *others = self.sharing(at.distinct)
        rows = self._part(0, first)
        for number, place in enumerate(others, 1):
            rows = self._combined(rows, number, place)
        return rows, at

    def forward(self, ids: Tensor) -> Tensor:
        """`ids[*batch]` -> `[*batch, width]`."""
        return gather(*self.rows(ids))

    def dense(self) -> Tensor:
        """The rows of all features, `[n, width]`."""
        return self.forward(self.first + torch.arange(self.features, device=self.parts[0].device))

    def _part(self, number: int, place: Tensor) -> Tensor:
        at = incidence(place)
        return gather(read(self.parts[number], at), at)

    def _combined(self, rows: Tensor, number: int, place: Tensor) -> Tensor:
        there = place >= 0
        if torch.compiler.is_exporting():  # a graph whose shapes do not depend on the ids
            part = torch.where(there.unsqueeze(-1), self._part(number, place.clamp_min(0)), float(self.product))
            return rows * part if self.product else rows + part
        have = there.nonzero().squeeze(-1)
        part = self._part(number, place.index_select(0, have))
        own = rows.index_select(0, have)
        return rows.index_copy(0, have, own * part if self.product else own + part)


def compress(
    model: nn.Module, schema: Schema, make: Callable[[Sequence[int]], Any], name: str, model_name: str
) -> None:
    """Put compressed tables in place of all tables of features of a model; raises FmlabError where it has none.

    `make(sizes)` gives the `RowSharing` of fields with so many features, or None for whole tables.
    """
    if make([f.size for f in schema.fields]) is None:
        return
    if getattr(model, "whole_tables", False):
        raise FmlabError(f"{model_name} reads its tables as a whole, got table={name}; it takes table=full")
    found = False
    for module in list(model.modules()):
        for key, child in list(module.named_children()):
            if type(child) is EmbeddingTable and child.of_features:
                setattr(module, key, CompressedTable(child, make(_sizes(schema, child))))
                found = True
    if not found:
        raise FmlabError(
            f"table={name} needs a model with embedding tables of features, {model_name} has none; it takes table=full"
        )


def _sizes(schema: Schema, table: EmbeddingTable) -> list[int]:
    """Sizes of the fields whose features a table has, which are neighbors."""
    stop = table.first + len(table.weight)
    pairs = zip(schema.fields, schema.offsets, strict=True)
    return [field.size for field, offset in pairs if table.first <= offset < stop]
