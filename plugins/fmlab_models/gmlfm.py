"""The factorization machine with generalized metric learning."""

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmlab.contracts.model import Scorer
from fmlab.data import Schema
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.fm_sums import weighted_sums
from fmlab.nn.init import weights_and_vectors
from fmlab.nn.sparse_lookup import gather, pool
from fmlab.plugin.option import Renamed
from fmlab_models._options import Dim, Dropout, Layers, PositiveInitStd

_PRODUCTS = ("euclidean", "cosine")  # distances made of inner products


class GMLFM(nn.Module):
    """`w0 + sum w_i x_i + sum_{i<j} w_ij D(v_i, v_j) x_i x_j`: pairs score a learned distance, weighted and signed.

    Paper: Guo, Cheng, Jing, Lin, Nie, Wang, Enhancing factorization machines with generalized metric learning, IEEE
      TKDE 2022, equations 1 to 12.

    `w_ij = h·(v_i * v_j)`, or 1 without `weighted`. `transform` gives the points `u`: `u = L v` (md: the distance is
    Mahalanobis', `M = L^T L`) or `layers` of `u = tanh(W u + b)` after dropout (dnn; 0 layers: `u = v`). D is
    `|u_i - u_j|^2`, squared as in equation 8 and in the table of variants; the Manhattan or the Chebyshev distance;
    or the cosine as printed, which is a similarity.

    The first and the last are sums of products. With `A = sum v x`, `C = sum v |u|^2 x` and `S = sum v u^T x`

        sum_{i<j} = <A, h*C> - sum_{kl} h_k S_kl^2,    between sides: <h*C, A> + <h*A, C> - 2 <h*S, S>

    in time linear in the columns, by which forward goes where that is cheaper than all pairs, and always `user` and
    `item`, of width `dim (dim + 2)`. The other two distances have no such form: such a model is not two-sided.

    As in the authors' code, dropout also stands before the first layer, and biases and weights start at 0; all
    else starts at N(0, init_std), where a pair, a product of six such numbers, has next to no gradient: training stands
    still for epochs. With `init=identity` the matrices start as identities and h at 0.1, so that pairs begin as
    `0.1 <v_i, v_j> |v_i - v_j|^2`. The paper tunes `dim` between 4 and 512.

    Cost: O(C layers dim^2 + C dim min(C, dim))
    Test: tests/models/test_gmlfm.py::test_scores_and_gradients_are_those_of_the_double_sum
    Family: metric and hyperbolic
    """

    defaults = {"loss": "squared", "optimizer": "adam"}
    space = {"transform": {"choice": ["dnn", "md"]}, "layers": {"int": [1, 3]}}

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, transform: str, layers: int, weighted: bool, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        matrices = dim**2 if transform == "md" else layers * (dim**2 + dim)
        return 1 + schema.n_features * (1 + dim) + dim * weighted + matrices

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 64,
        transform: Annotated[Literal["dnn", "md"], "perceptron or Mahalanobis matrix before the distance"] = "dnn",
        layers: Layers = 1,
        dropout: Dropout = 0.0,
        distance: Annotated[
            Literal["euclidean", "manhattan", "chebyshev", "cosine"], "distance between transformed vectors"
        ] = "euclidean",
        weighted: Annotated[bool, "whether pairs of features have weights"] = True,
        init: Annotated[Literal["normal", "identity"], "initial values of the transform", Renamed("start")] = "normal",
        init_std: PositiveInitStd = 0.01,
    ) -> None:
        """`layers` and `dropout` are dnn's."""
        super().__init__()
        self.distance, self.dropout = distance, dropout if transform == "dnn" else 0.0
        self.bias = nn.Parameter(torch.zeros(()))
        self.table = EmbeddingTable(weights_and_vectors(schema.n_features, dim, init_std))
        self.h = nn.Parameter(init_std * torch.randn(dim)) if weighted else None
        if transform == "md":
            self.transform = nn.Sequential(nn.Linear(dim, dim, bias=False))
        else:
            blocks = [(nn.Dropout(dropout), nn.Linear(dim, dim), nn.Tanh()) for _ in range(layers)]
            self.transform = nn.Sequential(*(layer for block in blocks for layer in block))
        for name, parameter in self.transform.named_parameters():
            nn.init.normal_(parameter, std=0.0 if name.endswith("bias") else init_std)
        if init == "identity":
            with torch.no_grad():
                for parameter in (p for p in self.transform.parameters() if p.dim() == 2):
                    parameter.copy_(torch.eye(dim))
                if self.h is not None:
                    self.h.fill_(0.1)
        factors = dim if weighted else 1
        self.linear_time = factors * (dim + 2) < 2 * schema.n_columns * (factors + dim)
        self.products = distance in _PRODUCTS

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        if self.products and self.linear_time and not (self.training and self.dropout > 0):
            return self.bias + self._sums(ids, values)[0]
        return self.query_state(ids, values)[0]

    def scorers(self) -> tuple[Scorer, ...]:
        """Distances made of inner products have the linear form as well."""
        return ("two-tower", "late-interaction") if self.products else ("late-interaction",)

    def query_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """`w0` with weights and pairs within the query; its factors and points."""
        within, *rest = self.item_state(ids, values)
        return self.bias + within, *rest

    def item_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """Weights and pairs within the item; its factors and points, `[*batch, columns, k]`."""
        rows, at = self.table.rows(ids)
        v = rows[:, 1:]
        by_place = self.training and self.dropout > 0  # every place of a row has a dropout of its own
        points = self._points(gather(v, at)) if by_place else gather(self._points(v), at)
        factors = gather(self._factors(v), at)
        if values is not None:
            factors = factors * values.unsqueeze(-1)
        pairs = self._between(factors, points, factors, points) - self._alone(factors, points).sum(-1)
        return pool(rows[:, :1], at, values).squeeze(-1) + 0.5 * pairs, factors, points

    def interact(self, user: tuple[Tensor, ...], item: tuple[Tensor, ...]) -> Tensor:
        """Pairs across the sides."""
        (a, *left), (b, *right) = user, item
        return a + b + self._between(*left, *right)

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`w0` with weights and pairs within the query; `(h*C, h*A, -2 h*S)`, or `h*S` for the cosine."""
        within, a, c, s = self._sums(ids, values)
        s = self._scaled(s.transpose(-1, -2)).transpose(-1, -2).flatten(-2)
        vector = s if self.distance == "cosine" else torch.cat([self._scaled(c), self._scaled(a), -2 * s], -1)
        return self.bias + within, vector

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Weights and pairs within the item; `(A, C, S)`, or `S` for the cosine."""
        within, a, c, s = self._sums(ids, values)
        return within, s.flatten(-2) if self.distance == "cosine" else torch.cat([a, c, s.flatten(-2)], -1)

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z

    def _points(self, v: Tensor) -> Tensor:
        u = self.transform(v)
        return functional.normalize(u, dim=-1) if self.distance == "cosine" else u

    def _factors(self, v: Tensor) -> Tensor:
        """What the weight of a pair is an inner product of."""
        return torch.ones_like(v[..., :1]) if self.h is None else v

    def _scaled(self, factors: Tensor) -> Tensor:
        return factors if self.h is None else factors * self.h

    def _between(self, a: Tensor, u: Tensor, b: Tensor, v: Tensor) -> Tensor:
        """Sum over all columns of one and all of the other, from factors and points."""
        weights = torch.einsum("...ik,...jk->...ij", self._scaled(a), b)
        return (weights * self._distances(u, v)).sum((-2, -1))

    def _distances(self, u: Tensor, v: Tensor) -> Tensor:
        if not self.products:
            return torch.cdist(u, v, p=1.0 if self.distance == "manhattan" else torch.inf)
        products = torch.einsum("...ik,...jk->...ij", u, v)
        if self.distance == "cosine":
            return products
        return u.square().sum(-1).unsqueeze(-1) + v.square().sum(-1).unsqueeze(-2) - 2 * products

    def _alone(self, factors: Tensor, points: Tensor) -> Tensor:
        """What a feature would contribute with itself: `[*, k]`, `[*, k]` -> `[*]`."""
        if self.distance != "cosine":
            return torch.zeros_like(points[..., 0])
        return (self._scaled(factors) * factors).sum(-1) * points.square().sum(-1)

    def _sums(self, ids: Tensor, values: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights and pairs of the columns; A and C, `[*batch, k]`, and S, `[*batch, k, dim]`."""
        rows, at = self.table.rows(ids)
        points, factors = self._points(rows[:, 1:]), self._factors(rows[:, 1:])
        far = factors * points.square().sum(-1, keepdim=True)
        products = (factors.unsqueeze(-1) * points.unsqueeze(-2)).flatten(-2)
        parts = [rows[:, :1], factors, far, products]
        x = None if values is None else values.to(rows.dtype)  # its square keeps the digits of the model
        total, alone = weighted_sums(torch.cat(parts, -1), self._alone(factors, points), at, x)
        weight, a, c, s = torch.split(total, [p.shape[-1] for p in parts], -1)
        s = s.view(*a.shape, -1)
        pairs = self._scaled(s.square().sum(-1)).sum(-1)
        within = 0.5 * (pairs - alone) if self.distance == "cosine" else (self._scaled(a) * c).sum(-1) - pairs
        return weight.squeeze(-1) + within, a, c, s
