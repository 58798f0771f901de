"""Pairs of fields that a structure search weighs, and that it dropped."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fmlab.nn.pair_products import triangle


class PairGates(nn.Module):
    """What a model sends its products of pairs of fields through: `[*batch, pairs]`, in the order of `triangle`."""

    def forward(self, products: Tensor) -> Tensor:
        """Of the same shape."""
        raise NotImplementedError


class GatedPairs(PairGates):
    """While a search runs."""

    def __init__(self, gate: Callable[[Tensor], Tensor]) -> None:
        """`gate`: products of all pairs -> what counts of them."""
        super().__init__()
        self.__dict__["gate"] = gate

    def forward(self, products: Tensor) -> Tensor:
        """As the gate says."""
        found: Tensor = self.__dict__["gate"](products)
        return found


class MaskedPairs(PairGates):
    """Afterwards: pairs that were dropped count nothing, the others whole. `kept[pairs]`, bool, is in checkpoints."""

    kept: Tensor

    def __init__(self, pairs: int) -> None:
        """Everything is kept so far."""
        super().__init__()
        self.register_buffer("kept", torch.ones(pairs, dtype=torch.bool))

    def forward(self, products: Tensor) -> Tensor:
        """Products of the pairs that are kept, 0 for others."""
        return products * self.kept.to(products.dtype)


def field_sums(vectors: Tensor, column_field: Sequence[int]) -> Tensor:
    """Sums of the columns of each field: `[*batch, columns, k]` -> `[*batch, fields, k]`."""
    fields = max(column_field) + 1
    if fields == len(column_field):
        return vectors
    place = torch.tensor(column_field, device=vectors.device)
    sums = vectors.new_zeros(*vectors.shape[:-2], fields, vectors.shape[-1])
    return sums.index_add(-2, place, vectors)


def gated_pairs(
    vectors: Tensor, column_field: Sequence[int], gates: PairGates, signed: Callable[[Tensor], Tensor] = lambda v: v
) -> Tensor:
    """`sum_{i<j} <v_i, v_j>` over columns, with a gate on each pair of fields: `[*batch, columns, k]` -> `[*batch]`.

    Pairs of columns of one field have no gate. `signed`: the other side of the inner product.
    """
    sums = field_sums(vectors, column_field)
    fields = sums.shape[-2]
    left, right = triangle(fields, vectors.device)
    products = (sums @ signed(sums).transpose(-1, -2)).flatten(-2).index_select(-1, left * fields + right)
    total: Tensor = gates(products).sum(-1)
    if fields < len(column_field):
        own = (sums * signed(sums)).sum((-1, -2)) - (vectors * signed(vectors)).sum((-1, -2))
        total = total + 0.5 * own
    return total
