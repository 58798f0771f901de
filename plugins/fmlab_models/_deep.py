"""Shared parts of deep models: vectors of fields and the first layer of a perceptron, each computed by side."""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmlab.data import Schema
from fmlab.nn.fields import FieldEmbeddings, query_and_item
from fmlab.nn.mlp import split_mlp
from fmlab_models._options import BatchNorm


class DeepModel(nn.Module):
    """A score made of the fields' sums `s_f = sum x v` over the slots of field f, and of a perceptron over them.

    A subclass writes `_score`. A state is (linear part `w0 + sum w x`, `[*batch]`, or 0; this side's share of the first
    layer of the perceptron, `W [x_u; x_i] = W_u x_u + W_i x_i`; further tensors, the first being the field sums).
    """

    def __init__(
        self,
        schema: Schema,
        dim: int,
        *,
        init_std: Annotated[float, "standard deviation of initial embeddings"],
        linear: Annotated[bool, "whether linear weights are vectors of fields or numbers"],
        hidden: Annotated[tuple[int, ...] | None, "units of each hidden layer"] = None,
        dropout: Annotated[float, "share of activations that are set to 0 in training"] = 0.0,
        batch_norm: BatchNorm = False,
    ) -> None:
        """`hidden`: of the perceptron over the sums; None for no perceptron, whose first layer then has width 0."""
        super().__init__()
        self.n_fields, self.dim = len(schema.fields), dim
        self.all = range(self.n_fields)
        self.query, self.items = query_and_item(schema)
        self.bias = nn.Parameter(torch.zeros(())) if linear else None
        self.tables = FieldEmbeddings(schema, (dim,) * self.n_fields, std=init_std, weights=linear)
        self.deep = hidden is not None
        if hidden is not None:
            self.first, self.rest = split_mlp(self.n_fields * dim, hidden, dropout, batch_norm)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        return self._score(*self._encode(ids, values, self.all))

    def query_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """The query's state."""
        return self._encode(ids, values, self.query)

    def item_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """The item's state."""
        return self._encode(ids, values, self.items)

    def interact(self, user: tuple[Tensor, ...], item: tuple[Tensor, ...]) -> Tensor:
        """Scores of the joint state: the first two parts add up, the others are concatenated."""
        (a, g, *left), (b, h, *right) = user, item
        return self._score(a + b, g + h, *(concat_broadcast(p, q) for p, q in zip(left, right, strict=True)))

    def _score(self, linear: Tensor, first: Tensor, *parts: Tensor) -> Tensor:
        raise NotImplementedError

    def _encode(self, ids: Tensor, values: Tensor | None, fields: range) -> tuple[Tensor, ...]:
        read = self.tables(ids, values, fields)
        linear = torch.as_tensor(read.weight, dtype=read.sums.dtype, device=read.sums.device)
        linear = linear.expand(read.sums.shape[:-1])
        if self.bias is not None and fields.start == 0:
            linear = linear + self.bias
        return linear, self._first_layer(read.sums, fields), read.sums

    def _first_layer(self, sums: Tensor, fields: range) -> Tensor:
        if not self.deep:
            return sums[..., :0]
        return by_side(sums, self.first.weight, self.first.bias, fields, self.dim)

    def _fields(self, sums: Tensor) -> Tensor:
        """`[*batch, fields * dim]` -> `[*batch, fields, dim]`."""
        return sums.view(*sums.shape[:-1], self.n_fields, self.dim)

    def _folded(self, sums: Tensor) -> Tensor:
        """`[*batch, fields * dim]` -> `[n, fields, dim]`."""
        return sums.reshape(-1, self.n_fields, self.dim)


def by_side(sums: Tensor, weight: Tensor, bias: Tensor | None, fields: range, dim: int) -> Tensor:
    """The part of `W x + b` of some fields; `b` is added with the first field."""
    columns = weight[:, fields.start * dim : fields.stop * dim]
    return functional.linear(sums, columns, None if fields.start else bias)


def concat_broadcast(user: Tensor, item: Tensor) -> Tensor:
    """`[*batch, p]` and `[*batch, q]`, broadcast, -> `[*batch, p + q]`."""
    shape = torch.broadcast_shapes(user.shape[:-1], item.shape[:-1])  # type: ignore[no-untyped-call]
    return torch.cat([t.expand(*shape, t.shape[-1]) for t in (user, item)], -1)


def perceptron(inputs: int, hidden: tuple[int, ...], dropout: float, batch_norm: bool) -> nn.Sequential:
    """`[*batch, inputs]` -> `[*batch, 1]`, for inputs that do not split by side."""
    first, rest = split_mlp(inputs, hidden, dropout, batch_norm)
    return nn.Sequential(first, *rest)
