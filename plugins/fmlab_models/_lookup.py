"""Field-matrix models at inference: the vectors `v_i M` are looked up, none is computed."""

from itertools import combinations
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from fmlab_models._field_matrix_fm import FieldMatrixFM


class LookedUp(nn.Module):
    """The scores of a trained FwFM, FvFM or FmFM, whose intermediate vectors `v M_{f,g}` stand in tables.

    Paper: Sun, Pan, Zhang, Flores, FM²: field-matrixed factorization machines for recommender systems, WWW 2021,
    sections 4.2 and 4.3.

    Of two fields the one with the larger size keeps `v M` beside its vectors, so that a pair costs one inner product
    of the smaller size. A feature's row: its part of the linear term, v, and `v M` of each field it was taken to.
    """

    weight: Tensor
    left: Tensor
    right: Tensor

    def __init__(self, model: "FieldMatrixFM") -> None:
        """A copy of float numbers: it does not follow when `model` is trained on."""
        super().__init__()
        dims, self.slots, matrices = model.dims, model.tables.slots, model.matrices().detach()
        self.offsets = [sum(model.tables.sizes[:f]) for f in range(len(dims))]
        pairs = [(f, g) if dims[g] <= dims[f] else (g, f) for f, g in combinations(range(len(dims)), 2)]
        own = [(f, f) for f in range(len(dims)) if self.slots[f] > 1]
        at: dict[tuple[int, int | None], int] = {}  # where `v M_{f,g}`, or v itself, begins in what all fields look up
        stop, weights, tables = 0, [], []
        for f, dim in enumerate(dims):
            v = model.tables.vectors(f).detach()
            parts, stop = [model.linear_part(f).detach().unsqueeze(1), v], stop + 1 + dim
            weights.append(stop - dim - 1)
            at[f, None] = stop - dim
            for _, g in (pair for pair in (*own, *pairs) if pair[0] == f):
                parts.append(model.matrices.through(v, matrices, range(f, f + 1), range(g, g + 1)))
                at[f, g], stop = stop, stop + dims[g]
            tables.append(torch.cat(parts, 1))
        self.tables = nn.ParameterList(nn.Parameter(t, requires_grad=False) for t in tables)
        self.bias = nn.Parameter(model.bias.detach().clone(), requires_grad=False)
        self.widths = dict(zip((f for f, _ in own), (dims[f] for f, _ in own), strict=True))
        places = {
            "weight": weights,
            "left": [at[f, g] + k for f, g in pairs for k in range(dims[g])],
            "right": [at[g, None] + k for f, g in pairs for k in range(dims[g])],
        }
        for name, place in places.items():
            self.register_buffer(name, torch.tensor(place, dtype=torch.int64), persistent=False)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        sums, stop = [], 0
        within: Tensor | float = 0.0
        for f, (table, slots, offset) in enumerate(zip(self.tables, self.slots, self.offsets, strict=True)):
            start, stop = stop, stop + slots
            rows = table[ids[..., start:stop].long() - offset]
            if values is not None:
                rows = rows * values[..., start:stop, None]
            total = rows.sum(-2) if slots > 1 else rows.squeeze(-2)
            if slots > 1:  # the slots of a field meet each other, none itself
                within = within + 0.5 * (self._own(total, f) - self._own(rows, f).sum(-1))
            sums.append(total)
        found = torch.cat(sums, -1)
        pairs = (found.index_select(-1, self.left) * found.index_select(-1, self.right)).sum(-1)
        return self.bias + found.index_select(-1, self.weight).sum(-1) + pairs + within

    def _own(self, row: Tensor, f: int) -> Tensor:
        k = self.widths[f]
        return (row[..., 1 : 1 + k] * row[..., 1 + k : 1 + 2 * k]).sum(-1)
