"""Implicit alternating least squares."""

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.plugin.option import Range, Renamed
from fmlab_models._histories import distinct, entities
from fmlab_models._options import Dim, PositiveInitStd

_PENALTY = 4.0  # l2 (n_u + a |I|) of a mean user that suits data of 800 to 20,000 items, from 8 items a user on
_CELLS = 1 << 19  # numbers of padded histories held at once: larger blocks get new pages each time


class IALS(nn.Module):
    """Matrix factorization fitted to 1 on what was met and, by a smaller weight, to 0 on everything.

    `sum_{met} (<p_u, q_i> - 1)^2 + a sum_{all u, i} <p_u, q_i>^2 + sum_u l_u |p_u|^2 + sum_i l_i |q_i|^2` with
    `l_u = l2 (n_u + a |I|)^reg_exponent` and likewise for items, `n_u` the items that the user has met, a the
    `unobserved_weight`.

    Paper: Hu, Koren, Volinsky, Collaborative filtering for implicit feedback datasets, ICDM 2008.

    The score is `<p_u, q_i>`. The objective, its scaled regularization and the defaults are those of Rendle, Krichene,
    Zhang, Koren, Revisiting the performance of iALS on item recommendation benchmarks, RecSys 2022. Each
    sweep solves for all users, then for all items, exactly.

    Fitted: (U + I) dim numbers are solved for
    Cost: O(dim)
    Test: tests/models/test_ease_itemknn_ials.py::test_ials_solves_every_entity_and_lowers_the_objective
    Family: collaborative
    """

    defaults = {"loss": None, "optimizer": None}
    space = {
        "unobserved_weight": {"float": [0.003, 1.0], "log": True},
        "l2": {"float": [0.0001, 0.3], "log": True},
        "reg_exponent": {"float": [0.0, 1.0]},
    }
    users: Tensor
    items: Tensor

    @staticmethod
    def n_parameters(schema: Schema, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return 0

    @staticmethod
    def suited_options(schema: Schema, rows: int, *, unobserved_weight: float, **_: Any) -> dict[str, float]:
        """The `l2` by which the vector of a mean user is penalized as it should: the more items, the smaller."""
        if not (schema.n_users and schema.n_items):
            return {}
        return {"l2": float(f"{_PENALTY / (unobserved_weight * schema.n_items + rows / schema.n_users):.2g}")}

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 64,
        n_iterations: Annotated[int, Range(1, None), "alternating passes over users and items", Renamed("sweeps")] = 16,
        unobserved_weight: Annotated[
            float, Range(0, None, open_low=True), "weight of pairs that were not observed", Renamed("unobserved")
        ] = 0.1,
        l2: Annotated[float, Range(0, None, open_low=True), "weight of the squared norm of the parameters"] = 0.003,
        reg_exponent: Annotated[
            float, Range(0, None), "exponent of the frequency that regularization grows with", Renamed("exponent")
        ] = 1.0,
        init_std: PositiveInitStd = 0.1,
    ) -> None:
        """Vectors start at N(0, init_std / sqrt(dim)), the unknown ones at 0; raises FmlabError without entities."""
        super().__init__()
        self.entities = entities(schema, "ials")
        self.n_iterations, self.unobserved_weight = n_iterations, unobserved_weight
        self.l2, self.reg_exponent = l2, reg_exponent
        for name, n in (("users", schema.n_users), ("items", schema.n_items)):
            start = torch.randn(n + 1, dim) * (init_std / dim**0.5)
            start[0] = 0
            self.register_buffer(name, start)

    def fit_interactions(self, user: Tensor, item: Tensor) -> None:
        """Alternate; who has met nothing gets vector 0."""
        user, item = distinct(user.cpu(), item.cpu(), self.entities.items)
        p, q = self.users[1:].double(), self.items[1:].double()
        for _ in range(self.n_iterations):
            p = self._solve(q, user, item, len(p))
            q = self._solve(p, item, user, len(q))
        self.users[1:], self.items[1:] = p.to(self.users), q.to(self.items)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        user, item = self.entities.of_row(ids)
        return (self.users[user] * self.items[item]).sum(-1)

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bias 0 and the user's vector."""
        p = self.users[self.entities.of_user(ids)]
        return torch.zeros_like(p[..., 0]), p

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bias 0 and the item's vector."""
        q = self.items[self.entities.of_item(ids)]
        return torch.zeros_like(q[..., 0]), q

    def fold_in(self, item: Tensor) -> Tensor:
        """Scores of all items by the vector that is best for the items met: the step of a sweep for one user."""
        q = self.items[1:].double()
        (p,) = self._solve(q, torch.zeros_like(item), item, 1)
        return (q @ p).to(self.items)

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z

    def _solve(self, fixed: Tensor, own: Tensor, other: Tensor, n: int) -> Tensor:
        """The vectors of `n` entities that are best for the fixed ones: `own` has met `other`."""
        dim = fixed.shape[1]
        other = other[torch.argsort(own, stable=True)]
        count = torch.bincount(own, minlength=n)
        starts = count.cumsum(0) - count
        padded = torch.cat([fixed, fixed.new_zeros(1, dim)])
        all_pairs = self.unobserved_weight * (fixed.T @ fixed)
        solved = fixed.new_zeros(n, dim)
        some = count.argsort()
        some, low = some[count[some] > 0], 0
        while low < len(some):  # entities of like counts together, so that little is padded
            wide = int(count[some[min(len(some) - 1, low + _CELLS // (dim * dim))]])
            rows = some[low : low + max(1, _CELLS // (dim * max(dim, wide)))]
            low += len(rows)
            at = torch.arange(int(count[rows].max()))
            places = (starts[rows].unsqueeze(1) + at).clamp_max(len(other) - 1)
            met = padded[torch.where(at < count[rows].unsqueeze(1), other[places], len(fixed))]
            decay = self.l2 * (count[rows] + self.unobserved_weight * len(fixed)) ** self.reg_exponent
            system = met.mT @ met + all_pairs + torch.diag_embed(decay.unsqueeze(1).expand(-1, dim))
            solved[rows] = torch.cholesky_solve(met.sum(1).unsqueeze(-1), torch.linalg.cholesky(system)).squeeze(-1)
        return solved
