"""The embarrassingly shallow autoencoder."""

from typing import Annotated

import numpy as np
import torch
from scipy.linalg import lapack
from torch import Tensor
from torch.nn import functional

from fmlab.data import Schema
from fmlab.errors import FmlabError
from fmlab.plugin.option import Range
from fmlab_models._histories import LARGEST, cooccurrences, pack, unpack
from fmlab_models._item_weights import ItemWeights

_EXACT = 12_000  # items up to which float64 and three matrices of it are affordable
_ROWS = 1024
_OVERWRITE = {lapack.spotrf: "overwrite_a", lapack.spotri: "overwrite_c"}


class EASE(ItemWeights):
    """A user's score of an item is a sum of learned weights of all other items in the user's history.

    `score(u, j) = sum_i X_ui B_ij` with `B = I - P diag(1 / diag P)`, `P = (X^T X + l2 I)^-1`: the least squares of
    `X = X B` with no item weighing itself. X is 1 where the user has met the item in training.

    Paper: Steck, Embarrassingly shallow autoencoders for sparse data, WWW 2019, equations 4 to 8.

    `l2` is 500 there on MovieLens-20M. Nothing is trained by gradients; the inverse takes time cubic in the items. Up
    to 12,000 items it is computed in float64. Beyond, it is computed in float32 in the place of the weights: 4 bytes
    for every two items, 6.7 GB for 41,000. A list of all items is then a sum of the rows of what the user has met.

    Fitted: a weight of every two items is solved for
    Cost: O(I)
    Test: tests/models/test_ease_itemknn_ials.py::test_ease_is_ridge_regression_of_every_item_on_all_others
    Family: collaborative
    """

    space = {"l2": {"float": [10.0, 10000.0], "log": True}}
    pivot: Tensor

    def __init__(
        self,
        schema: Schema,
        *,
        l2: Annotated[float, Range(0, None, open_low=True), "weight of the squared norm of the parameters"] = 500.0,
    ) -> None:
        """Weights stand at 0 until `fit_interactions`; raises FmlabError on data without users and items, or on too
        many."""
        super().__init__(schema, "ease", LARGEST)
        self.l2, self.scores_catalog = l2, schema.n_items > _EXACT
        if self.scores_catalog:
            self.register_buffer("pivot", torch.ones(schema.n_items))  # the diagonal of P

    def fit_interactions(self, user: Tensor, item: Tensor) -> None:
        """Solve for the weights; row j + 1 holds what every item weighs for item j, row 0 is the unknown item's."""
        e = self.entities
        user, item = user.cpu(), item.cpu()
        if self.scores_catalog:
            self._solve_in_place(user, item)
            return
        gram = cooccurrences(user, item, e.users, e.items).double()
        gram.diagonal().add_(self.l2)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        weights = inverse / -inverse.diagonal()
        weights.fill_diagonal_(0.0)
        self.history.copy_(pack(user, item, e.users, e.items))
        self.weight[1:] = weights.T.to(self.weight)

    def _solve_in_place(self, user: Tensor, item: Tensor) -> None:
        """The same in float32 and in the memory of the weights, block by block."""
        e, weight = self.entities, self.weight[1:]
        cooccurrences(user, item, e.users, e.items, out=weight)
        weight.diagonal().add_(self.l2)
        symmetric = weight.numpy().T  # LAPACK works on columns
        for step, name in ((lapack.spotrf, "factorized"), (lapack.spotri, "inverted")):
            options = {"clean": 0} if step is lapack.spotrf else {}
            found, wrong = step(symmetric, lower=0, **options, **{_OVERWRITE[step]: 1})
            if wrong or not np.shares_memory(found, symmetric):
                raise FmlabError(f"ease: the matrix of co-occurrences cannot be {name} in float32; raise model.l2")
        # Columns' upper half is rows' lower half: the other one is filled from it.
        for low in range(0, e.items, _ROWS):
            high = min(low + _ROWS, e.items)
            square = weight[low:high, low:high].tril()
            weight[low:high, low:high] = square + square.tril(-1).T
            weight[low:high, high:] = weight[high:, low:high].T
        self.pivot.copy_(weight.diagonal())
        weight.div_(-self.pivot.unsqueeze(1)).fill_diagonal_(0.0)
        self.history.copy_(pack(user, item, e.users, e.items))

    def catalog_scores(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """Query columns `[q, columns]` -> scores of all items `[q, items]`.

        With `B_ij = -P_ij / P_jj` and P symmetric, the sum over i of row i of the weights times `P_ii`, divided by
        `P_jj`, is the score of j.
        """
        query, item = unpack(self.history[self.entities.of_user(ids)], self.entities.items, torch.uint8).nonzero(
            as_tuple=True
        )
        starts = torch.bincount(query, minlength=len(ids)).cumsum(0)
        return self._summed(item, torch.cat([starts.new_zeros(1), starts[:-1]]))

    def fold_in(self, item: Tensor) -> Tensor:
        """Scores of all items, as for a user of the training who has met these: exact."""
        if self.scores_catalog:
            return self._summed(item, item.new_zeros(1))[0]
        return self.weight[1:, item].sum(1)

    def _summed(self, item: Tensor, starts: Tensor) -> Tensor:
        total = functional.embedding_bag(
            item, self.weight[1:], starts, mode="sum", per_sample_weights=self.pivot.to(self.weight.dtype)[item]
        )
        return total / self.pivot
