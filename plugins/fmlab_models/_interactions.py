"""The interaction-aware mechanism: what the pairs of a row are worth, by their features and by their fields."""

from collections.abc import Sequence
from itertools import combinations
from math import sqrt
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.nn.sparse_lookup import IdGrouping, gather, incidence

Components = Literal["both", "feature", "field"]
_BITS = 62  # of a key with its position


class Pairs(NamedTuple):
    """The pairs of every row: `effect[d, k]` of the distinct ones, `F * v_i * v_j`, which of them stands where,
    and `share[*batch, p]`, `T x_i x_j` of each."""

    effect: Tensor
    at: IdGrouping
    share: Tensor


class InteractionAware(nn.Module):
    """`T_ij` and `F_{f_i,f_j} * v_i * v_j` of all pairs of columns, or of sampled ones.

    Paper: Hong, Huang, Chen, Interaction-aware factorization machines for recommender systems, AAAI 2019,
    equations 4 to 6.

    What depends on two features only, the attention network above all, is computed once for each distinct pair of
    the batch: most pairs of context features recur in every batch, and a user's own beside every candidate.
    """

    first: Tensor
    second: Tensor
    kind: Tensor
    two_fields: Tensor

    def __init__(
        self,
        schema: Schema,
        dim: int,
        *,
        attention_dim: Annotated[int, "units of the attention over pairs"],
        field_dim: Annotated[int, "size of the vectors of fields"],
        factorized: Annotated[bool, "whether the vectors of pairs of fields are factorized"],
        components: Annotated[Components, "which of the two kinds of interaction weights are used"],
        temperature: Annotated[float, "divisor of the attention logits"],
        n_pairs: Annotated[int | None, "pairs of columns that are weighed in a batch; null is all"] = None,
    ) -> None:
        """`n_pairs`: how many of the pairs of columns are drawn, None for all."""
        super().__init__()
        self.components, self.temperature = components, temperature
        field = schema.column_field
        columns = list(combinations(range(len(field)), 2))
        of_columns = [(field[c], field[d]) for c, d in columns]
        self.fields = sorted(set(of_columns))
        kind = torch.tensor([self.fields.index(pair) for pair in of_columns], dtype=torch.int64)
        first, second = torch.tensor(columns, dtype=torch.int64).view(-1, 2).unbind(1)
        buffers = {"first": first, "second": second, "kind": kind, "two_fields": torch.tensor(self.fields)}
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer, persistent=False)
        self.n_pairs = None if n_pairs is None or n_pairs >= len(columns) else n_pairs
        if components != "field":
            spread = sqrt(2 / (attention_dim + dim))
            self.weight = nn.Parameter(spread * torch.randn(attention_dim, dim))
            self.offset = nn.Parameter(spread * torch.randn(attention_dim))
            self.query = nn.Parameter(torch.randn(attention_dim))
        if components != "feature":
            n, rows = len(schema.fields), len(self.fields)
            sizes = [(n, field_dim), (field_dim, dim)] if factorized else [(rows, dim)]
            spread = 1.0 if factorized else sqrt(field_dim)  # that of a product of two
            self.factors = nn.ParameterList(spread * torch.randn(*size) for size in sizes)

    def prototypes(self) -> Tensor:
        """`F[field pairs, k]` in the order of `fields`: `D^T (U_f * U_g)`, or the tensor itself."""
        factors = list(self.factors)
        if len(factors) == 1:
            return factors[0]
        left, right = (factors[0].index_select(0, f) for f in self.two_fields.unbind(1))
        return (left * right) @ factors[1]

    def importance(self) -> Tensor:
        """`|F_{f,g}|` of every two fields, in the order of `fields` (table 3)."""
        return torch.linalg.vector_norm(self.prototypes().detach(), dim=-1)

    def forward(self, rows: Tensor, at: IdGrouping, values: Tensor | None) -> Pairs:
        """Of the vectors `rows[d, k]` of the distinct features, and the values `[*batch, columns]`."""
        field = None if self.components == "feature" else self.prototypes()
        first, second, kind = self._drawn(field)
        effect, pairs = distinct_products(rows, at, first, second)
        x = None if values is None else values.index_select(-1, first) * values.index_select(-1, second)
        x = None if x is None else x.to(rows.dtype)
        share = self._attention(effect, pairs, x)
        if field is not None:  # two features have two fields, wherever in the rows they stand
            which = kind.index_select(0, pairs.order.index_select(0, pairs.starts) % len(kind))
            effect = effect * field.index_select(0, which)
        return Pairs(effect, pairs, share if x is None else share * x)

    def _drawn(self, field: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The pairs of columns to look at, drawn without replacement by the norms of F; its largest in evaluation."""
        if self.n_pairs is None:
            return self.first, self.second, self.kind
        norm = torch.ones(len(self.fields), device=self.kind.device) if field is None else field.detach().norm(dim=-1)
        keys = norm.log().index_select(0, self.kind)
        if self.training:
            keys = keys - torch.empty_like(keys).exponential_().log()  # Gumbel: the largest are a weighted sample
        at = keys.topk(self.n_pairs).indices.sort().values
        return self.first[at], self.second[at], self.kind[at]

    def _attention(self, pairs: Tensor, at: IdGrouping, x: Tensor | None) -> Tensor:
        """`T[*batch, p]`, equation 5."""
        if self.components == "field":
            return torch.ones(at.inverse.shape, dtype=pairs.dtype, device=pairs.device)
        hidden = (pairs @ self.weight.T).to(pairs.dtype)
        if x is None:
            logits = gather((self._logits(hidden)).unsqueeze(-1), at).squeeze(-1)
        else:
            logits = self._logits(gather(hidden, at) * x.unsqueeze(-1))
        return torch.softmax(logits / self.temperature, -1)

    def _logits(self, hidden: Tensor) -> Tensor:
        return ((hidden + self.offset).relu() * self.query).sum(-1)


def distinct_products(rows: Tensor, at: IdGrouping, first: Tensor, second: Tensor) -> tuple[Tensor, IdGrouping]:
    """`v_i * v_j` of the distinct pairs of features in the columns `first[p]` and `second[p]`, and which stands where.

    `rows[d, k]` are those of the distinct features, `at` says which stands where.
    """
    left, right = (at.inverse.index_select(-1, c) for c in (first, second))
    if torch.compiler.is_exporting():  # where every occurrence is taken for distinct, see `incidence`
        products = rows.index_select(0, left.reshape(-1)) * rows.index_select(0, right.reshape(-1))
        return products, incidence(left)
    d = len(rows)
    distinct, pairs = _distinct(left * d + right, d * d)
    return rows.index_select(0, distinct // d) * rows.index_select(0, distinct % d), pairs


def spread(pairs: Pairs, dropout: nn.Dropout) -> Tensor:
    """`T F * v_i * v_j x_i x_j` of every pair of every row, after dropout: `[*batch, p, k]`."""
    worth, share = gather(pairs.effect, pairs.at), pairs.share.unsqueeze(-1)
    if not (dropout.training and dropout.p):
        return worth * share
    return worth * (_kept(worth, dropout.p) * (share / (1 - dropout.p)))


def total(pairs: Pairs, dropout: nn.Dropout) -> Tensor:
    """The sum of `spread` over pairs and coordinates, `[*batch]`; without dropout each pair is a number."""
    if not (dropout.training and dropout.p):
        worth = gather(pairs.effect.sum(-1, keepdim=True), pairs.at).squeeze(-1)
        return (worth * pairs.share).sum(-1)
    wide = gather(pairs.effect, pairs.at)
    flat = wide.view(-1, 1, wide.shape[-1])
    with torch.autocast(wide.device.type, enabled=False):
        worth = torch.bmm(flat, _kept(flat, dropout.p).transpose(1, 2)).view(pairs.share.shape)
    return (worth * pairs.share).sum(-1) / (1 - dropout.p)


def _kept(like: Tensor, p: float) -> Tensor:
    """1 with probability 1 - p, rounded to 16 bits, else 0.

    Four numbers from each 64 random bits: several times faster on a CPU than torch's dropout, which draws bits singly.
    """
    words = torch.empty(-(-like.numel() // 4), dtype=torch.int64, device=like.device).random_(-(1 << 63), None)
    drawn = words.view(torch.int16)[: like.numel()].view(like.shape)
    return torch.ge(drawn, round(p * (1 << 16)) - (1 << 15), out=torch.empty_like(like))


def importance(mechanism: InteractionAware, names: Sequence[str]) -> dict[tuple[str, str], tuple[float, float]]:
    """Names of two fields -> the norm of their vector F, and its share of all norms: table 3."""
    norms = mechanism.importance()
    shares = norms / norms.sum()
    pairs = zip(mechanism.fields, norms.tolist(), shares.tolist(), strict=True)
    return {(names[f], names[g]): (norm, share) for (f, g), norm, share in pairs}


def _distinct(key: Tensor, bound: int) -> tuple[Tensor, IdGrouping]:
    """The distinct keys, all below `bound`, and which stands where."""
    if bound.bit_length() + key.numel().bit_length() <= _BITS:
        at = incidence(key)
        return at.distinct, at
    distinct, place = torch.unique(key, return_inverse=True)
    return distinct, incidence(place)
