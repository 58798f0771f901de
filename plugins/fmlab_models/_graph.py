"""Vectors passed along the graph of users and items."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fmlab.data import Schema
from fmlab.data.batch import Features
from fmlab.nn.geometry import Geometry
from fmlab.nn.sparse_lookup import gather, incidence, read
from fmlab_models._histories import distinct, entities


class Graph(nn.Module):
    """`D^-1/2 A D^-1/2` of who met what. Nodes are users, then items, each with the unknown one first, alone.

    It is symmetric, so that its product with a gradient is the gradient of its product. No checkpoint holds it.
    """

    neighbor: Tensor
    starts: Tensor
    weight: Tensor

    def __init__(self, users: int, items: int) -> None:
        """Without edges."""
        super().__init__()
        self.users, self.items, self.known = users, items, False
        self.register_buffer("neighbor", torch.zeros(0, dtype=torch.int32), persistent=False)
        self.register_buffer("starts", torch.zeros(users + items + 2, dtype=torch.int32), persistent=False)
        self.register_buffer("weight", torch.zeros(0), persistent=False)

    def fit_interactions(self, user: Tensor, item: Tensor) -> None:
        """Take the edges of the training positives, each once."""
        user, item = distinct(user, item, self.items)
        left, right = user + 1, item + self.users + 2
        source, target = torch.cat([left, right]), torch.cat([right, left])
        order = torch.argsort(source, stable=True)
        source, target = source[order], target[order]
        degree = torch.bincount(source, minlength=self.users + self.items + 2)
        root = degree.to(self.weight.dtype).clamp_min(1).rsqrt()
        # Sums read their indices as often as their vectors: half the bytes make them about a quarter faster.
        index = torch.int32 if len(target) <= torch.iinfo(torch.int32).max else torch.int64
        self.neighbor, self.starts = target.to(index), (degree.cumsum(0) - degree).to(index)
        self.weight, self.known = root[source] * root[target], True

    def forward(self, nodes: Tensor) -> Tensor:
        """`[nodes, k]` -> the weighted sums of every node's neighbors."""
        return _Pass.apply(nodes, self)  # type: ignore[no-untyped-call]

    def mean_of_layers(self, nodes: Tensor, layers: int) -> Tensor:
        """`1 / (L + 1) sum_{l=0..L} (D^-1/2 A D^-1/2)^l nodes`, `[nodes, k]`, with a gradient."""
        return _Mean.apply(nodes, self, layers)  # type: ignore[no-untyped-call]

    def sums(self, nodes: Tensor) -> Tensor:
        """The same as `forward` without a gradient."""
        weight, nodes = self.weight.to(nodes.dtype), nodes.detach().contiguous()
        return functional.embedding_bag(self.neighbor, nodes, self.starts, mode="sum", per_sample_weights=weight)


class _Pass(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, nodes: Tensor, graph: Graph) -> Tensor:
        ctx.graph = graph
        return graph.sums(nodes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.graph.sums(grad), None


class _Mean(torch.autograd.Function):
    """A sum of powers of a symmetric matrix is symmetric as well: the gradient passes through the same product."""

    @staticmethod
    def forward(ctx: Any, nodes: Tensor, graph: Graph, layers: int) -> Tensor:
        ctx.graph, ctx.layers = graph, layers
        return _mean(nodes, graph, layers)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _mean(grad, ctx.graph, ctx.layers), None, None


def _mean(nodes: Tensor, graph: Graph, layers: int) -> Tensor:
    total = nodes.detach()
    for _ in range(layers):  # 1 + A (1 + A (1 + ...)) is the sum of the powers
        total = graph.sums(total).add_(nodes)
    return total / (layers + 1)


class GraphModel(nn.Module):
    """`<e_u, e_i>` of vectors that `propagate` makes of all nodes at once; it reads ids only.

    A training step propagates once for both sides. Evaluation reads what `eval()` has propagated: these vectors are in
    checkpoints, so that a model rebuilt from one scores without the graph.
    """

    vectors: Tensor

    def __init__(self, schema: Schema, start: Tensor, width: int, model: str, geometry: Geometry | None = None) -> None:
        """`start[nodes, dim]`: the first vectors. `width`: that of the propagated ones, whose inner product that of
        the `geometry` is, the flat one if None."""
        super().__init__()
        self.geometry = Geometry() if geometry is None else geometry
        self.entities = entities(schema, model)
        self.graph = Graph(schema.n_users, schema.n_items)
        self.nodes = start if isinstance(start, nn.Parameter) else nn.Parameter(start)
        self.register_buffer("vectors", torch.zeros(len(start), width))

    def feature_rows(self) -> dict[str, list[int]]:
        """The features that nodes stand for: ids of users, then of items."""
        users = range(self.entities.first_user, self.entities.first_user + self.graph.users + 1)
        items = range(self.entities.first_item, self.entities.first_item + self.graph.items + 1)
        return {name: [*users, *items] for name in ("nodes", "vectors")}

    def propagate(self) -> Tensor:
        """The vectors of all nodes, `[nodes, width]`, from `nodes` and `graph`."""
        raise NotImplementedError

    def fit_interactions(self, user: Tensor, item: Tensor) -> None:
        """Build the graph of the training positives."""
        self.graph.fit_interactions(user.to(self.nodes.device), item.to(self.nodes.device))

    def train(self, mode: bool = True) -> "GraphModel":
        """Before evaluation, propagate once for all that follows."""
        super().train(mode)
        if not mode and self.graph.known:
            with torch.no_grad():
                self.vectors.copy_(self.propagate())
        return self

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        (user, item), vectors = self.entities.of_row(ids), self._now()
        return self.geometry.inner(_take(vectors, user), _take(vectors, item + self.graph.users + 1))

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bias 0 and the user's vector."""
        return self._side(self.geometry.signed(_take(self._now(), self.entities.of_user(ids))))

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bias 0 and the item's vector."""
        return self._side(_take(self._now(), self._place(ids)))

    def encode_sides(self, query: Features, item: Features) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Both, propagated once."""
        user, place = self.entities.of_user(query.ids), self._place(item.ids)  # read at once: one gradient of all nodes
        rows = self._now().index_select(0, torch.cat([user.reshape(-1), place.reshape(-1)]))
        p, q = torch.split(rows, [user.numel(), place.numel()])
        return self._side(self.geometry.signed(p.view(*user.shape, -1))), self._side(q.view(*place.shape, -1))

    def first_of_user(self, ids: Tensor) -> Tensor:
        """Query columns -> the users' vectors before they are passed along the graph, `[*batch, dim]`."""
        return self._first(self.entities.of_user(ids))

    def first_of_item(self, ids: Tensor) -> Tensor:
        """Item columns -> the items' vectors before they are passed along the graph, `[*batch, dim]`."""
        return self._first(self._place(ids))

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z

    def _now(self) -> Tensor:
        live = self.graph.known and (self.training or torch.is_grad_enabled())
        return self.propagate() if live else self.vectors

    def _first(self, nodes: Tensor) -> Tensor:
        at = incidence(nodes.unsqueeze(-1))
        return gather(read(self.nodes, at), at).squeeze(-2)  # its gradient has the rows of these nodes alone

    def _place(self, ids: Tensor) -> Tensor:
        """The nodes of item columns."""
        return self.entities.of_item(ids) + self.graph.users + 1

    @staticmethod
    def _side(vectors: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(vectors[..., 0]), vectors


def _take(vectors: Tensor, at: Tensor) -> Tensor:
    return vectors.index_select(0, at.reshape(-1)).view(*at.shape, vectors.shape[1])
