"""Self-attention between fields."""

from collections.abc import Sequence
from typing import Annotated, Any

from torch import Tensor, nn
from torch.nn import functional

from fmlab.data import Schema
from fmlab.errors import FmlabError
from fmlab.nn.sizes import perceptron_size
from fmlab.plugin.option import Range
from fmlab_models._deep import DeepModel
from fmlab_models._options import BatchNorm, Dim, Dropout, Hidden, InitStd


class Interacting(nn.Module):
    """Every field becomes a mixture of all fields, head by head: `ReLU(concat_h(softmax(Q_h K_h^T) V_h) + X W)`.

    Paper: Song et al., AutoInt, CIKM 2019, equations 5 to 8; scores are not divided by the root of the width.
    """

    def __init__(self, inputs: int, width: int, heads: int, dropout: float) -> None:
        """`width` of all heads together. Dropout falls on the shares of the mixture."""
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.project = nn.Linear(inputs, 4 * width, bias=False)  # query, key, value, residual

    def forward(self, x: Tensor) -> Tensor:
        """`[n, fields, inputs]` -> `[n, fields, width]`."""
        *qkv, residual = self.project(x).chunk(4, -1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in qkv)
        share = functional.dropout((q @ k.transpose(-1, -2)).softmax(-1), self.dropout, self.training)
        return ((share.to(v.dtype) @ v).transpose(1, 2).flatten(-2) + residual).relu()


class AutoInt(DeepModel):
    """`b + <w, [e_1; ...; e_F]>`, the fields' sums after layers of self-attention; AutoInt+ with a perceptron beside.

    Paper: Song, Shi, Xiao, Duan, Xu, Zhang, Tang, AutoInt: automatic feature interaction learning via self-attentive
      neural networks, CIKM 2019, equations 5 to 9, with its three layers, two heads and 32 coordinates a head.

    A layer turns the fields X into `ReLU([A_1 X V_1, ..., A_H X V_H] + X W)` with the shares
    `A_h = softmax(X Q_h (X K_h)^T)` of its heads. `hidden` adds `MLP([s_1; ...; s_F])` (AutoInt+).

    Cost: O(C dim + layers F attention_dim (F + attention_dim) + W)
    Test: tests/models/test_deep_oracles.py::test_scores_and_gradients_are_those_of_the_equations
    Family: deep
    """

    space = {"layers": {"int": [1, 4]}, "heads": {"choice": [1, 2, 4]}}

    @staticmethod
    def n_parameters(
        schema: Schema, *, dim: int, layers: int, attention_dim: int, hidden: Sequence[int], batch_norm: bool, **_: Any
    ) -> int:
        """Parameters that gradients train, without building the model."""
        fields = len(schema.fields)
        attention = 4 * attention_dim * (dim + (layers - 1) * attention_dim) + fields * attention_dim + 1
        deep = perceptron_size(fields * dim, hidden, batch_norm) if hidden else 0
        return schema.n_features * dim + attention + deep

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        layers: Annotated[int, Range(1, None), "number of layers"] = 3,
        heads: Annotated[int, Range(1, None), "number of attention heads"] = 2,
        attention_dim: Annotated[int, Range(1, None), "units of the attention"] = 64,
        hidden: Hidden = (),
        dropout: Dropout = 0.0,
        batch_norm: BatchNorm = False,
        init_std: InitStd = 0.01,
    ) -> None:
        """`attention_dim`: of all heads together. Raises FmlabError unless `heads` divides it."""
        if attention_dim % heads:
            raise FmlabError(f"attention_dim must be a multiple of heads, got {attention_dim} and {heads}")
        super().__init__(
            schema, dim, init_std=init_std, linear=False, hidden=hidden or None, dropout=dropout, batch_norm=batch_norm
        )
        widths = (dim, *(attention_dim for _ in range(layers)))
        blocks = (Interacting(a, attention_dim, heads, dropout) for a in widths[:-1])
        self.attention = nn.Sequential(*blocks)
        self.top = nn.Linear(self.n_fields * attention_dim, 1)

    def _score(self, linear: Tensor, first: Tensor, *parts: Tensor) -> Tensor:
        mixed = self.attention(self._folded(parts[0]))
        scores = self.top(mixed.flatten(1)).view(linear.shape)
        return scores + self.rest(first).squeeze(-1) if self.deep else scores
