"""The embarrassingly shallow autoencoder."""

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn import functional

from fmlab.data import Schema
from fmlab.errors import FmlabError
from fmlab.plugin.option import Range
from fmlab_models._dual_ease import DualEASE
from fmlab_models._histories import cooccurrences, pack
from fmlab_models._inverse import invert_in_place
from fmlab_models._item_weights import COPIED, ItemWeights

_EXACT = COPIED  # items up to which float64 and three matrices of it are affordable
_LARGEST = 55_000  # items or users, beyond which a number for every two of them takes more than 12 GB


class EASE(ItemWeights):
    """A user's score of an item is a sum of learned weights of all other items in the user's history.

    `score(u, j) = sum_i X_ui B_ij` with `B = I - P diag(1 / diag P)`, `P = (X^T X + l2 I)^-1`: the least squares of
    `X = X B` with no item weighing itself. X is 1 where the user has met the item in training.

    Paper: Steck, Embarrassingly shallow autoencoders for sparse data, WWW 2019, equations 4 to 8.

    `l2` is 500 there on MovieLens-20M. Nothing is trained by gradients; the inverse takes time cubic in the items. Up
    to 12,000 items it is computed in float64, and items are ranked by a second copy of the weights. Beyond, it is
    computed in float32 in the place of the weights, 4 bytes for every two items. A list of all items is a sum of the
    rows of what the user has met. Where there are fewer users than items, the same is solved for with a matrix of every
    two users, `(X X^T + l2 I)^-1`: 3.6 GB for 29,858 users, 11 GB for 52,643.

    Fitted: a weight of every two items is solved for
    Cost: O(I)
    Test: tests/models/test_ease_itemknn_ials.py::test_ease_is_ridge_regression_of_every_item_on_all_others
    Family: collaborative
    """

    space = {"l2": {"float": [10.0, 10000.0], "log": True}}
    pivot: Tensor

    @staticmethod
    def fit_operations(schema: Schema, rows: int, **_: Any) -> float:
        """Those of a Cholesky factorization and of the inverse by it."""
        users, items = schema.n_users, schema.n_items
        return float(items if items <= _EXACT else min(users, items)) ** 3

    def __init__(
        self,
        schema: Schema,
        *,
        l2: Annotated[float, Range(0, None, open_low=True), "weight of the squared norm of the parameters"] = 500.0,
    ) -> None:
        """Weights stand at 0 until `fit_interactions`; raises FmlabError on data without users and items, or on too
        many."""
        users, items = schema.n_users, schema.n_items
        large = items > _EXACT
        by_users = large and users < items
        if min(users, items) > _LARGEST:
            raise FmlabError(
                "ease has a number for every two items, or for every two users where these are fewer, and takes at most"
                f" {_LARGEST:,} of them, got {items:,} items and {users:,} users; models that have none: ials, mf"
            )
        super().__init__(schema, "ease", None, weighs=not by_users)
        self.l2, self.in_place, self.scores_catalog = l2, large, True
        self.dual = DualEASE(self.entities, l2) if by_users else None
        if large and not by_users:
            self.register_buffer("pivot", torch.ones(items))  # the diagonal of P

    def fit_interactions(self, user: Tensor, item: Tensor) -> None:
        """Solve for the weights; row j + 1 holds what every item weighs for item j, row 0 is the unknown item's."""
        e = self.entities
        user, item = user.cpu(), item.cpu()
        if self.dual is not None:
            self.history.copy_(pack(user, item, e.users, e.items))
            self.dual.fit(user, item, self.history)
            return
        if self.in_place:
            self._solve_in_place(user, item)
            return
        gram = cooccurrences(user, item, e.users, e.items).double()
        gram.diagonal().add_(self.l2)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        weights = inverse / -inverse.diagonal()
        weights.fill_diagonal_(0.0)
        self._by_item = None
        self.history.copy_(pack(user, item, e.users, e.items))
        self.weight[1:] = weights.T.to(self.weight)

    def _solve_in_place(self, user: Tensor, item: Tensor) -> None:
        """The same in float32 and in the memory of the weights, block by block."""
        e, weight = self.entities, self.weight[1:]
        cooccurrences(user, item, e.users, e.items, out=weight)
        invert_in_place(weight, self.l2, "ease")
        self.pivot.copy_(weight.diagonal())
        weight.div_(-self.pivot.unsqueeze(1)).fill_diagonal_(0.0)
        self.history.copy_(pack(user, item, e.users, e.items))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        if self.dual is not None:
            return self.dual.pair_scores(*self.entities.of_row(ids), self.history)
        return super().forward(ids, values)

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bias 0 and the user's history, as wide as there are items, or twice as wide as there are users."""
        if self.dual is None:
            return super().encode_query(ids, values)
        parts = torch.cat(self.dual.query_parts(self.entities.of_user(ids)), -1)
        return torch.zeros_like(parts[..., 0]), parts

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bias 0 and what every item weighs for this one, or who met it."""
        if self.dual is None:
            return super().encode_item(ids, values)
        parts = torch.cat(self.dual.item_parts(self.entities.of_item(ids), self.history), -1)
        return torch.zeros_like(parts[..., 0]), parts

    def compare_items(
        self, ids: Tensor, values: Tensor | None, others: Tensor, other_values: Tensor | None = None
    ) -> Tensor:
        """What having met the first item adds to the score of the others: `[q, n]`."""
        if self.dual is None:
            return super().compare_items(ids, values, others, other_values)
        one = functional.one_hot(self.entities.of_item(ids), self.entities.items + 1)[:, 1:]
        found = self.dual.of_histories(one.to(self.dual.pivot.dtype), self.history)
        return functional.pad(found, (1, 0))[:, self.entities.of_item(others)]

    def catalog_scores(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """Query columns `[q, columns]` -> scores of all items `[q, items]`.

        With `B_ij = -P_ij / P_jj` and P symmetric, the sum over i of row i of the weights times `P_ii`, divided by
        `P_jj`, is the score of j.
        """
        if self.dual is not None:
            return self.dual.catalog_scores(self.entities.of_user(ids), self.history)
        if not self.in_place:
            return super().catalog_scores(ids, values)
        return self._summed(ids, self.weight[1:], self.pivot.to(self.weight.dtype)) / self.pivot

    def fold_in(self, item: Tensor) -> Tensor:
        """Scores of all items, as for a user of the training who has met these: exact."""
        if self.dual is not None:
            own = self.dual.pivot.new_zeros(1, self.entities.items).index_fill_(1, item, 1.0)
            return self.dual.of_histories(own, self.history)[0]
        if self.in_place:
            return (self.weight[1 + item] * self.pivot[item].unsqueeze(1)).sum(0) / self.pivot
        return self.weight[1:, item].sum(1)
