"""A graph neural network whose nodes are the fields of a row."""

from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmlab.data import Schema
from fmlab.errors import FmlabError
from fmlab.plugin.option import Range
from fmlab_models._deep import DeepModel
from fmlab_models._options import Dim, Dropout, InitStd
from fmlab_models.autoint import Interacting


class FiGNN(DeepModel):
    """`sum_i a_i y_i` over the fields: the state of each gives a score y and a weight a, after steps on a graph.

    Paper: Li, Cui, Wu, Zhang, Wang, Fi-GNN: modeling feature interactions via graph neural networks for CTR prediction,
      CIKM 2019.

    The weights of edges are normalized over the neighbors that a node gathers from, as in a public implementation; the
    indices as they are quoted from the paper would normalize over those that it sends to. The authors' released code
    adds up the neighbors without weights.

    With `s` the fields' sums, the first state is `h^1 = ` AutoInt's self-attention of s. Between all two fields stands
    an edge `A_ij = softmax_j(LeakyReLU(<w, [s_i; s_j]>))`, j != i. A step gathers
    `a_i = W_in^i sum_j A_ij W_out^j h_j + b` and moves to `h_i <- GRU(a_i, h_i) + h_i^1`. At the end
    `y_i = <u, h_i> + c` and `a_i = <t, h_i> + d`, perceptrons of one layer.

    Cost: O(C dim + layers F dim (F + dim))
    Test: tests/models/test_deep_oracles.py::test_scores_and_gradients_are_those_of_the_equations
    Family: deep
    """

    space = {"layers": {"int": [1, 4]}, "heads": {"choice": [1, 2]}}

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return schema.n_features * dim + (2 * len(schema.fields) + 10) * dim**2 + 11 * dim + 4

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        layers: Annotated[int, Range(1, None), "number of layers"] = 3,
        heads: Annotated[int, Range(1, None), "number of attention heads"] = 2,
        dropout: Dropout = 0.0,
        init_std: InitStd = 0.01,
    ) -> None:
        """`layers` are steps; all have the same weights. Raises FmlabError unless `heads` divides `dim`."""
        if dim % heads:
            raise FmlabError(f"dim must be a multiple of heads, got {dim} and {heads}")
        super().__init__(schema, dim, init_std=init_std, linear=False)
        self.layers = layers
        self.attention = Interacting(dim, dim, heads, dropout)
        self.edge = nn.Linear(dim, 2)
        self.leave, self.enter = (nn.Parameter(_matrices(self.n_fields, dim)) for _ in range(2))
        self.shift = nn.Parameter(torch.zeros(dim))
        self.gru = nn.GRUCell(dim, dim)
        self.top = nn.Linear(dim, 2)

    def _score(self, linear: Tensor, first: Tensor, *parts: Tensor) -> Tensor:
        sums = self._folded(parts[0])
        left, right = self.edge(sums).unbind(-1)
        loops = torch.eye(self.n_fields, dtype=torch.bool, device=sums.device)
        strength = functional.leaky_relu(left.unsqueeze(-1) + right.unsqueeze(-2))
        edges = strength.masked_fill(loops, -torch.inf).softmax(-1) if self.n_fields > 1 else strength * 0
        start = state = self.attention(sums).flatten(0, 1)
        for _ in range(self.layers):
            leaving = torch.einsum("nfk,fkl->nfl", state.view(sums.shape), self.leave)
            entering = torch.einsum("nfk,fkl->nfl", edges.to(leaving.dtype) @ leaving, self.enter) + self.shift
            state = self.gru(entering.flatten(0, 1), state) + start
        score, weight = self.top(state).unbind(-1)
        return (score * weight).view(*linear.shape, self.n_fields).sum(-1)


def _matrices(fields: int, dim: int) -> Tensor:
    """A matrix for each field, `[fields, dim, dim]`, with entries of variance 1 / dim."""
    return torch.randn(fields, dim, dim) / dim**0.5
