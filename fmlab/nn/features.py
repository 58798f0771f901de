"""Tables with one row for each feature, and their initialization."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fmlab.data import Schema, Side
from fmlab.errors import FmlabError
from fmlab.nn.sparse_lookup import IdGrouping, gather, incidence, read, whole


class EmbeddingTable(nn.Module):
    """`weight[rows, width]`: feature id `first + r` reads row r. Ids may be int32. Gradients are row-sparse."""

    def __init__(self, weight: Tensor, *, first: int = 0, of_features: bool = True) -> None:
        """A parameter is kept as it is, with its manifold if it has one; another tensor becomes a parameter.

        `of_features`: whether ids are those of features; a table of hashes, for instance, has others.
        """
        super().__init__()
        self.weight = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight)
        self.first, self.of_features = first, of_features

    def feature_rows(self) -> dict[str, range]:
        """Tensors whose rows belong to features, and the feature of each row: what a warm start on grown data keeps."""
        return {"weight": range(self.first, self.first + len(self.weight))} if self.of_features else {}

    def rows(self, ids: Tensor) -> tuple[Tensor, IdGrouping]:
        """The distinct rows that `ids[*batch, c]` read, `[d, width]`, and which of them stands where.

        Without gradients these are all rows where that is cheaper than looking for the distinct ones.
        """
        if not (torch.is_grad_enabled() or torch.compiler.is_exporting()) and len(self.weight) <= ids.numel():
            return self.weight, whole(self._local(ids))
        at = incidence(self._local(ids))
        return read(self.weight, at), at

    def forward(self, ids: Tensor) -> Tensor:
        """`ids[*batch]` -> `[*batch, width]`."""
        if torch.is_grad_enabled() and self.weight.requires_grad:
            return gather(*self.rows(ids))
        return self.weight.index_select(0, self._local(ids).reshape(-1)).view(*ids.shape, self.weight.shape[1])

    def dense(self) -> Tensor:
        """The rows of all features, `[n, width]`."""
        return self.weight

    def _local(self, ids: Tensor) -> Tensor:
        return ids - self.first if self.first else ids


def id_field(schema: Schema, side: Side, model: str) -> int:
    """Index of the field that names the user or the item: the first of its side.

    Raises FmlabError if there is none, or if it holds no single id.
    """
    for number, field in enumerate(schema.fields):
        if field.side != side:
            continue
        if field.slots > 1 or field.numeric:
            kind = "numeric" if field.numeric else "multi-valued"
            raise FmlabError(f"{model} reads one id from the first {side} field, got {field.name!r}, which is {kind}")
        return number
    sides = ", ".join(sorted({f.side for f in schema.fields}))
    raise FmlabError(
        f"{model} needs users and items, got fields of the sides: {sides or 'none'}; "
        "models that need none: constant, lr, fm, deepfm, lorentzfm"
    )


class UserItemEmbeddings(nn.Module):
    """A table of users and one of items, read by the ids alone: the first column of each side."""

    def __init__(self, schema: Schema, make: Callable[[int], Tensor], *, model: str) -> None:
        """`make(rows)` gives the initial table of a side; raises FmlabError on data without users and items."""
        super().__init__()
        user, item = (id_field(schema, side, model) for side in ("user", "item"))
        self.user = EmbeddingTable(make(schema.fields[user].size), first=schema.offsets[user])
        self.item = EmbeddingTable(make(schema.fields[item].size), first=schema.offsets[item])
        self.item_column = schema.item.start

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Whole rows `[*batch, columns]` -> rows of both tables, `[*batch, width]` each."""
        return self.of_user(ids), self.item(ids[..., self.item_column])

    def of_user(self, ids: Tensor) -> Tensor:
        """Query columns -> `[*batch, width]`."""
        return self.user(ids[..., 0])

    def of_item(self, ids: Tensor) -> Tensor:
        """Item columns -> `[*batch, width]`."""
        return self.item(ids[..., 0])
