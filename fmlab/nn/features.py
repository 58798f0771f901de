"""Tables with one row for each feature, and their initialisation."""

import torch
from torch import Tensor, nn

from fmlab.data import Schema, Side
from fmlab.errors import FmlabError
from fmlab.nn.incidence import Incidence, gather, incidence, read


class FeatureTable(nn.Module):
    """`weight[rows, width]`: feature id `first + r` reads row r. Ids may be int32. Gradients are row-sparse."""

    def __init__(self, weight: Tensor, *, first: int = 0) -> None:
        """A parameter is kept as it is, with its manifold if it has one; another tensor becomes a parameter."""
        super().__init__()
        self.weight = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight)
        self.first = first

    def rows(self, ids: Tensor) -> tuple[Tensor, Incidence]:
        """The distinct rows that `ids[*batch, c]` read, `[d, width]`, and which of them stands where."""
        at = incidence(self._local(ids))
        return read(self.weight, at), at

    def forward(self, ids: Tensor) -> Tensor:
        """`ids[*batch]` -> `[*batch, width]`."""
        if torch.is_grad_enabled() and self.weight.requires_grad:
            return gather(*self.rows(ids))
        return self.weight.index_select(0, self._local(ids).reshape(-1)).view(*ids.shape, -1)

    def _local(self, ids: Tensor) -> Tensor:
        return ids - self.first if self.first else ids


def weights_and_vectors(rows: int, dim: int, std: float) -> Tensor:
    """`[rows, 1 + dim]`: the first-order weight, 0, beside the vector, N(0, std): one read serves both."""
    table = torch.zeros(rows, 1 + dim)
    nn.init.normal_(table[:, 1:], std=std)
    return table


def id_fields(schema: Schema, model: str) -> tuple[int, int]:
    """Indices of the fields that name the user and the item: the first of each side.

    Raises FmlabError if the schema lacks one of them, or if it holds no single id.
    """
    return _id_field(schema, "user", model), _id_field(schema, "item", model)


def _id_field(schema: Schema, side: Side, model: str) -> int:
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
