"""Self-attentive sequential recommendation."""

from typing import Annotated

import torch
from torch import Tensor, nn

from fmlab.api import FmlabError, History, Range, Schema


class SASRec(nn.Module):
    """The next item, from the items before it, by self-attention.

    Paper: Kang, McAuley, Self-Attentive Sequential Recommendation, ICDM 2018

    The j-th item from the end of the history has the vector e_j + p_j: the sum of the vectors of its features, and that
    of its position. Blocks of causal self-attention and a point-wise feed-forward network, each with a residual
    connection around a layer normalization of its input, give a state for each position (equations 2 to 6); the score
    of item i is the product of the last state with e_i (equation 7). A user without history has the state of a learned
    vector. Scores have two sides, so that all items are ranked by one matrix product.
    """

    defaults = {"loss": "bce", "optimizer": "adam"}

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Annotated[int, Range(1, None)] = 32,
        history_length: Annotated[int, Range(1, None)] = 50,
        n_blocks: Annotated[int, Range(1, None)] = 2,
        n_heads: Annotated[int, Range(1, None)] = 1,
        dropout: Annotated[float, Range(0, 1, open_high=True)] = 0.2,
        init_std: Annotated[float, Range(0, None, open_low=True)] = 0.05,
    ) -> None:
        """Raises FmlabError on data without items, and where `dim` is no multiple of `n_heads`."""
        super().__init__()
        if not schema.has_items:
            raise FmlabError("sasrec reads the items that a user had, got data without items")
        if dim % n_heads:
            raise FmlabError(f"dim must be a multiple of n_heads, got {dim} and {n_heads}")
        self.history_length, self.first_item, self.first_id = history_length, schema.item.start, _first(schema)
        self.vectors = nn.Embedding(schema.n_features - self.first_id, dim)
        self.positions = nn.Embedding(history_length, dim)  # counted from the end
        self.nobody = nn.Parameter(torch.zeros(dim))
        self.blocks = nn.ModuleList(Block(dim, n_heads, dropout) for _ in range(n_blocks))
        self.norm, self.drop = nn.LayerNorm(dim), nn.Dropout(dropout)
        for table in (self.vectors, self.positions):
            nn.init.normal_(table.weight, std=init_std)
        nn.init.normal_(self.nobody, std=init_std)

    def forward(self, ids: Tensor, values: Tensor | None = None, *, history: History) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        at = self.first_item
        _, p = self.encode_query(ids[..., :at], history=history)
        _, q = self.encode_item(ids[..., at:], None if values is None else values[..., at:])
        return (p * q).sum(-1)

    def encode_query(self, ids: Tensor, values: Tensor | None = None, *, history: History) -> tuple[Tensor, Tensor]:
        """0, and the last state of the history."""
        state = self.states(self._sum(history.ids, history.values), history.mask)[..., -1, :]
        state = torch.where(history.mask.any(-1, keepdim=True), state, self.nobody.to(state.dtype))
        state = state.expand(*ids.shape[:-1], state.shape[-1])
        return state.new_zeros(state.shape[:-1]), state

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """0, and the vector of the item."""
        vector = self._sum(ids, values)
        return vector.new_zeros(vector.shape[:-1]), vector

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z

    def states(self, past: Tensor, mask: Tensor) -> Tensor:
        """Vectors `past[*batch, L, dim]`, of which `mask[*batch, L]` are items -> states of the same shape."""
        lead, (length, dim) = past.shape[:-2], past.shape[-2:]
        place = torch.arange(length - 1, -1, -1, device=past.device)
        x = self.drop(past * dim**0.5 + self.positions(place)).reshape(-1, length, dim)
        there = mask.reshape(-1, length)
        for block in self.blocks:
            x = block(x, there)
        return self.norm(x).view(*lead, length, dim)

    def _sum(self, ids: Tensor, values: Tensor | None) -> Tensor:
        rows = self.vectors(ids - self.first_id)
        return rows.sum(-2) if values is None else (rows * values.unsqueeze(-1)).sum(-2)


class Block(nn.Module):
    """Causal self-attention and a point-wise feed-forward network."""

    def __init__(self, dim: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = n_heads, dropout
        self.norm_attention, self.norm_forward = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.wide, self.narrow = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`x[B, L, dim]`, `mask[B, L]` -> `[B, L, dim]`. A position sees items that are not after it, and itself."""
        y = self.norm_attention(x)
        q, k, v = (self._split(part(y)) for part in (self.query, self.key, self.value))
        length = x.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        seen = (causal & mask.unsqueeze(1)) | torch.eye(length, dtype=torch.bool, device=x.device)
        rate = self.rate if self.training else 0.0
        found = nn.functional.scaled_dot_product_attention(q, k, v, seen.unsqueeze(1), dropout_p=rate)
        x = x + self.drop(found.transpose(1, 2).reshape(x.shape))
        return x + self.drop(self.narrow(self.drop(self.wide(self.norm_forward(x)).relu())))

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


def _first(schema: Schema) -> int:
    """The first feature of the item side."""
    return int(schema.offsets[schema.column_field[schema.item.start]])
