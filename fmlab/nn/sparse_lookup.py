"""Reading rows of a table many times over, and adding their gradients up once.

A batch reads the same few rows again and again: one user's features stand beside every candidate, popular items
recur. So the ids are sorted once; what a model does to a row is done once for each distinct row; a sum over the
columns of a row is one fused pass; and the transposed sums of the backward pass run along the sorted ids. The
gradient of a table comes out row-sparse with ascending, distinct rows: an optimizer need not sort it again.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fmlab.errors import DataError


class IdGrouping(NamedTuple):
    """Which of the distinct ids stands where in `ids[*batch, c]`. All int64.

    `distinct[d]`: the ids that occur, ascending. `inverse[*batch, c]`: where each id stands among them.
    `order[n]`: the occurrences (positions in the flattened ids) sorted by id. `starts[d]`: where in `order` the
    occurrences of each distinct id begin.
    """

    distinct: Tensor
    inverse: Tensor
    order: Tensor
    starts: Tensor

    def owner(self) -> Tensor:
        """The row of the batch that each occurrence belongs to, in the order of `order`."""
        columns = self.inverse.shape[-1]
        rows = torch.arange(self.inverse.numel() // columns, device=self.order.device)
        return rows.unsqueeze(1).expand(-1, columns).reshape(-1).index_select(0, self.order)


def incidence(ids: Tensor) -> IdGrouping:
    """Of non-negative integer ids `[*batch, c]`. In an exported program every occurrence is taken for distinct: what is
    sorted here saves time in training, and a graph for other runtimes has no place for it."""
    flat = ids.reshape(-1)
    if torch.compiler.is_exporting():
        each = torch.arange(flat.shape[0], device=flat.device)
        return IdGrouping(flat.long(), each.view(ids.shape), each, each)
    if flat.device.type == "cpu":
        return _on_cpu(flat, ids.shape)
    ordered, order = torch.sort(flat)
    distinct, place, counts = torch.unique_consecutive(ordered, return_inverse=True, return_counts=True)
    inverse = torch.empty_like(order).scatter_(0, order, place)
    return IdGrouping(distinct.long(), inverse.view(ids.shape), order, counts.cumsum(0) - counts)


def _on_cpu(flat: Tensor, shape: torch.Size) -> IdGrouping:
    # (id, position) pairs packed into one integer: NumPy sorts these faster than torch sorts with indices.
    bits = len(flat).bit_length()
    key = np.left_shift(flat.numpy(), bits, dtype=np.int64)
    key |= np.arange(len(flat))
    key.sort()
    if len(key) and key[0] < 0:
        raise DataError(f"feature ids must not be negative, got {key[0] >> bits}")
    order = key & ((1 << bits) - 1)
    key >>= bits
    begins = np.ones(len(key), bool)
    np.not_equal(key[1:], key[:-1], out=begins[1:])
    starts = np.flatnonzero(begins)
    distinct, ordered, run = (torch.from_numpy(a) for a in (key[starts], order, begins))
    inverse = torch.empty_like(ordered).scatter_(0, ordered, run.cumsum(0).sub_(1))
    return IdGrouping(distinct, inverse.view(shape), ordered, torch.from_numpy(starts))


def whole(ids: Tensor) -> IdGrouping:
    """Ids that read a table as it stands, whose rows are all taken for distinct. It serves no backward pass."""
    none = torch.empty(0, dtype=torch.int64, device=ids.device)
    return IdGrouping(none, ids.long(), none, none)


def read(weight: Tensor, at: IdGrouping) -> Tensor:
    """The distinct rows `[d, width]` of a table; its gradient is row-sparse, with the same rows."""
    return _Read.apply(weight, at.distinct)  # type: ignore[no-untyped-call]


def gather(rows: Tensor, at: IdGrouping) -> Tensor:
    """Rows `[d, k]` of the distinct ids -> `[*batch, c, k]`."""
    return _Gather.apply(rows, at)  # type: ignore[no-untyped-call]


def pool(rows: Tensor, at: IdGrouping, values: Tensor | None = None) -> Tensor:
    """Sums over columns of the rows `[d, k]` of the distinct ids, times `values[*batch, c]` -> `[*batch, k]`."""
    return _Pool.apply(rows, None if values is None else values.to(rows.dtype), at)  # type: ignore[no-untyped-call]


def dot(p: Tensor, q: Tensor, place: Tensor) -> Tensor:
    """Inner products of `p[b, k]` with the rows of `q[d, k]` at `place[b, c]` -> `[b, c]`."""
    common = torch.promote_types(p.dtype, q.dtype)
    return _Dot.apply(p.to(common), q.to(common), place)  # type: ignore[no-untyped-call]


def sum_columns(rows: Tensor, at: IdGrouping, weights: Tensor | None) -> Tensor:
    """`pool` without its gradient, for the forward pass of a fused function."""
    columns = at.inverse.shape[-1]
    weights = None if weights is None else weights.reshape(-1, columns)
    return _bags(rows, at.inverse.view(-1, columns), None, weights).view(*at.inverse.shape[:-1], rows.shape[-1])


def sum_occurrences(grad: Tensor, at: IdGrouping, weights: Tensor | None) -> Tensor:
    """The transposed sums, for its backward pass: `grad[*batch, k]` -> `[d, k]`."""
    weights = None if weights is None else weights.reshape(-1).index_select(0, at.order)
    return _bags(grad.reshape(-1, grad.shape[-1]), at.owner(), at.starts, weights)


def _bags(rows: Tensor, index: Tensor, starts: Tensor | None, weights: Tensor | None = None) -> Tensor:
    if starts is None and torch.compiler.is_exporting():
        wide = rows.index_select(0, index.reshape(-1)).view(*index.shape, rows.shape[-1])
        return (wide if weights is None else wide * weights.unsqueeze(-1)).sum(-2)
    # Detached: torch would prepare for a backward pass of its own whenever the rows require a gradient.
    return functional.embedding_bag(index, rows.detach().contiguous(), starts, mode="sum", per_sample_weights=weights)


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, distinct: Tensor) -> Tensor:
        ctx.save_for_backward(distinct)
        ctx.size = weight.shape
        return weight.index_select(0, distinct)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (distinct,) = ctx.saved_tensors
        index = distinct.unsqueeze(0)
        return torch.sparse_coo_tensor(index, grad, ctx.size, is_coalesced=True, check_invariants=False), None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, at: IdGrouping) -> Tensor:
        ctx.save_for_backward(at.order, at.starts)
        return rows.index_select(0, at.inverse.reshape(-1)).view(*at.inverse.shape, rows.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        order, starts = ctx.saved_tensors
        return _bags(grad.reshape(-1, grad.shape[-1]), order, starts), None


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, values: Tensor | None, at: IdGrouping) -> Tensor:
        ctx.at = at
        ctx.save_for_backward(rows if ctx.needs_input_grad[1] else None, values)
        return sum_columns(rows, at, values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        rows, values = ctx.saved_tensors
        of_values = None
        if rows is not None:
            wide = rows.index_select(0, ctx.at.inverse.reshape(-1)).view(-1, ctx.at.inverse.shape[-1], rows.shape[-1])
            products = torch.bmm(wide, grad.reshape(len(wide), -1, 1).to(wide.dtype))
            of_values = products.view(ctx.at.inverse.shape)
        return sum_occurrences(grad, ctx.at, values), of_values, None


class _Dot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor, q: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(p, q, place)
        wide = q.index_select(0, place.reshape(-1)).view(*place.shape, q.shape[-1])
        with torch.autocast(p.device.type, enabled=False):  # scores keep the digits of the vectors
            return torch.bmm(wide, p.unsqueeze(-1)).squeeze(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        p, q, place = ctx.saved_tensors
        pushes = (grad.unsqueeze(-1) * p.unsqueeze(1)).view(-1, p.shape[-1])
        of_q = torch.zeros_like(q).index_add_(0, place.reshape(-1), pushes)
        return _bags(q, place, None, grad.contiguous()), of_q, None
