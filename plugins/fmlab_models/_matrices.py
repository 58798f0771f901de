"""A matrix between every two fields: the identity, a number, a diagonal or any matrix."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from fmlab.nn.pair_products import triangle

Kind = Literal["identity", "scalar", "vector", "matrix"]


class FieldMatrices(nn.Module):
    """M of every two fields: `weight[1, n]`, or `[K, n]` for diagonals, in the order of rows of the upper half.

    Methods take what `forward` gives, so that it is made once for a batch. `signed` is the other side of an inner
    product that numbers between fields multiply; diagonals and matrices have their own signs.
    """

    place: Tensor
    share: Tensor

    def __init__(
        self, kind: Kind, dims: tuple[int, ...], several: list[bool], signed: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        """`several`: which fields have more than one slot, and so a matrix of their own."""
        super().__init__()
        self.signed = signed if kind in ("identity", "scalar") else None
        self.kind, self.dim = kind, dims[0]
        self.widths = dims if kind == "matrix" else (1,) * len(dims)
        with torch.device("cpu"):  # how many numbers there are depends on these, on the meta device too
            field = torch.arange(len(dims)).repeat_interleave(torch.tensor(self.widths))
            left, right = field.unsqueeze(1), field.unsqueeze(0)
            own = (left == right) & torch.tensor(several)[left]
        place = ((left < right) | own).flatten().nonzero().squeeze(1)
        self.register_buffer("place", place, persistent=False)
        self.register_buffer("share", 1 - 0.5 * own.flatten()[place].float(), persistent=False)
        if kind == "identity":
            self.register_buffer("weight", torch.ones(1, len(place)), persistent=False)
        else:
            self.weight = nn.Parameter(torch.randn(self.dim if kind == "vector" else 1, len(place)))

    def forward(self) -> Tensor:
        """All M beside their transposes, `[1, D, D]`, or their diagonals, `[1 or K, F, F]`."""
        width = sum(self.widths)
        flat = self.weight.new_zeros(len(self.weight), width * width)
        upper = flat.index_copy(1, self.place, self.weight * self.share).view(-1, width, width)
        return upper + upper.transpose(1, 2)

    def form(self, sums: Tensor, dense: Tensor, fields: range) -> Tensor:
        """`sum over f, g in fields of <s_g M_{g,f}, s_f>`: `[*, sizes]` -> `[*]`."""
        laid = self._lay(sums, fields)
        products = (self._product(laid, dense, fields, fields) * laid).sum(-1).sum(0)
        if self.kind not in ("identity", "scalar"):
            return products
        return (products if self.signed is None else self.signed(products)).sum(-1)

    def pairs(self, sums: Tensor, dense: Tensor) -> Tensor:
        """`<s_f M_{f,g}, s_g>` of all fields f < g: `[*, sizes]` -> `[*, pairs]`, in the order of `triangle`."""
        fields = range(len(self.widths))
        laid = self._lay(sums, fields)
        other = laid if self.signed is None else self.signed(laid.transpose(-1, -2)).transpose(-1, -2)
        if self.kind == "matrix":
            starts = [sum(self.widths[:f]) for f in fields]
            ends = [start + width for start, width in zip(starts, self.widths, strict=True)]
            found = []
            for f in fields[:-1]:
                seen = sums[..., starts[f] : ends[f]] @ dense[0, starts[f] : ends[f]] * sums
                found += [seen[..., starts[g] : ends[g]].sum(-1) for g in fields[f + 1 :]]
            return torch.stack(found, -1)
        left, right = triangle(len(fields), sums.device)
        if self.kind == "vector":
            weights = dense[:, left, right].view(len(dense), *(1,) * (laid.dim() - 2), len(left))
            return (laid.index_select(-1, left) * other.index_select(-1, right) * weights).sum(0)
        products = (laid.index_select(-1, left) * other.index_select(-1, right))[0].sum(-2)
        return products * dense[0, left, right]

    def pair_parameters(self) -> Tensor:
        """Numbers of M of each two fields, int64 `[pairs]`."""
        left, right = triangle(len(self.widths))
        if self.kind == "identity":
            return torch.zeros(len(left), dtype=torch.int64)
        sizes = torch.tensor(self.widths)
        return len(self.weight) * sizes[left] * sizes[right]

    def through(self, sums: Tensor, dense: Tensor, source: range, target: range) -> Tensor:
        """`sum over f in source of s_f M_{f,g}` for each g in target: `[*, sizes of source]` -> `[*, of target]`."""
        product = self._product(self._lay(sums, source), dense, source, target)
        if self.kind == "matrix":
            return product[0]
        by_field = product.movedim(0, -1) if self.kind == "vector" else product[0].transpose(-1, -2)
        return (by_field if self.signed is None else self.signed(by_field)).flatten(-2)

    def _lay(self, sums: Tensor, fields: range) -> Tensor:
        """What is multiplied from the right: `[1, *, D]`, or with the fields last `[1, *, K, F]`, `[K, *, F]`."""
        if self.kind == "matrix":
            return sums.unsqueeze(0)
        by_field = sums.view(*sums.shape[:-1], len(fields), self.dim)
        fields_last = by_field.movedim(-1, 0) if self.kind == "vector" else by_field.transpose(-1, -2).unsqueeze(0)
        return fields_last.contiguous()

    def _product(self, laid: Tensor, dense: Tensor, source: range, target: range) -> Tensor:
        rows, columns = (slice(sum(self.widths[: r.start]), sum(self.widths[: r.stop])) for r in (source, target))
        return torch.einsum("k...f,kfg->k...g", laid, dense[:, rows, columns])
