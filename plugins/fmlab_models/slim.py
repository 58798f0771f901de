"""Sparse linear methods: an elastic net for each item."""

from typing import Annotated

import numpy as np
import torch
from scipy.linalg import lapack
from torch import Tensor

from fmlab.data import Array, Schema
from fmlab.errors import FmlabError
from fmlab.plugin.option import Range
from fmlab_models._histories import cooccurrences, pack
from fmlab_models._item_weights import ItemWeights

_LARGEST = 35_000  # items, beyond which co-occurrences and weights take more than 10 GB
_FIRST = 32  # items that a solution begins with
_CLOSE = 1e-10  # of the largest gain: what is not above it is rounding
_TRIES = 3  # exchanges of all wrong signs that may bring no gain before one sign at a time is exchanged


class SLIM(ItemWeights):
    """A user's score of an item is a sum of few, non-negative weights of all other items in the user's history.

    `score(u, j) = sum_i X_ui W_ij`, where column j of W has the least
    `|x_j - X w|^2 / 2 + l2 |w|^2 / 2 + l1 |w|_1` of all `w >= 0` with `w_j = 0`. X is 1 where the user has met the item
    in training.

    Paper: Ning, Karypis, SLIM: sparse linear methods for top-N recommender systems, ICDM 2011, equation 3.

    Each column is solved for exactly, by sets of weights that are above 0: its normal equations on the set, and the
    items next to join it by the gradient. Only items met by more than `l1` users together with item j can weigh for it.
    Programs that minimize `|x_j - X w|^2 / (2 n) + alpha ratio |w|_1 + alpha (1 - ratio) |w|^2 / 2`, n the users, such
    as scikit-learn and RecBole, have `l1 = n alpha ratio` and `l2 = n alpha (1 - ratio)`.

    Fitted: a weight of every two items is solved for
    Cost: O(I)
    Test: tests/models/test_slim.py::test_slim_is_the_elastic_net_of_every_item
    Family: collaborative
    """

    space = {"l1": {"float": [0.1, 30.0], "log": True}, "l2": {"float": [1.0, 3000.0], "log": True}}

    def __init__(
        self,
        schema: Schema,
        *,
        l1: Annotated[float, Range(0, None), "weight of the sum of the absolute values of the parameters"] = 1.0,
        l2: Annotated[float, Range(0, None, open_low=True), "weight of the squared norm of the parameters"] = 100.0,
    ) -> None:
        """Weights stand at 0 until `fit_interactions`; raises FmlabError on data without users and items, or on too
        many."""
        super().__init__(schema, "slim", _LARGEST)
        self.l1, self.l2 = l1, l2

    def fit_interactions(self, user: Tensor, item: Tensor) -> None:
        """Solve for the weights; row j + 1 holds what every item weighs for item j, row 0 is the unknown item's."""
        e = self.entities
        user, item = user.cpu(), item.cpu()
        counts = cooccurrences(user, item, e.users, e.items).numpy()
        self.weight.zero_()
        self._by_item = None
        for j in range(e.items):
            held, weights = column(counts, j, self.l1, self.l2)
            self.weight[j + 1, torch.from_numpy(held)] = torch.from_numpy(weights).to(self.weight)
        self.history.copy_(pack(user, item, e.users, e.items))


def column(counts: Array, j: int, l1: float, l2: float) -> tuple[Array, Array]:
    """The weights above 0 of an item, float64, and of which items; `counts[items, items]` how often two are met.

    Least `w' (G + l2 I) w / 2 - (g_j - l1)' w` over `w >= 0`, `w_j = 0`. As all counts are 0 or above, an item whose
    gain `g_ij - l1` is not above 0 has weight 0, whatever the others weigh.
    """
    gain = counts[j].astype(np.float64) - l1
    gain[j] = 0.0
    free = np.flatnonzero(gain > 0)
    held, weights = free[:0], np.zeros(0)
    slope = gain[free]
    least = _CLOSE * float(slope.max(initial=0.0))
    while (slope > least).any():
        steepest = free[np.argsort(-slope, kind="stable")[: min(int((slope > least).sum()), max(_FIRST, len(held)))]]
        held = np.concatenate([held, steepest])
        square = counts[np.ix_(held, held)].astype(np.float64)
        square[np.diag_indices(len(held))] += l2
        weights = nonnegative(square, gain[held], least)
        held, weights = held[weights > 0], weights[weights > 0]
        slope = gain[free] - weights @ counts[held][:, free]
        slope[np.isin(free, held)] = 0.0  # its gradient is 0 there up to rounding
    return held, weights


def nonnegative(square: Array, right: Array, least: float) -> Array:
    """The x >= 0 with the least `x' A x / 2 - b' x` of a positive definite A, by principal pivoting: exact up to
    rounding.

    Source: J. Kim, H. Park, Fast nonnegative matrix factorization: an active-set-like method and comparisons, SIAM J.
    Sci. Comput. 33, 2011, algorithm 2. `least`: slopes not above it are rounding. Raises FmlabError if A is not
    positive definite.
    """
    inside = np.ones(len(right), bool)
    fewest, tries = len(right) + 1, _TRIES
    while True:
        x = np.zeros(len(right))
        at = np.flatnonzero(inside)
        if len(at):
            _, found, wrong = lapack.dposv(square[np.ix_(at, at)], right[at], lower=1)
            if wrong:
                raise FmlabError("slim: the co-occurrences of items cannot be factorized; raise model.l2")
            x[at] = found
        bad = np.where(inside, x < 0, right - square @ x > least)
        wrong = int(bad.sum())
        if not wrong:
            return x
        if wrong < fewest:
            fewest, tries = wrong, _TRIES
        else:
            tries -= 1
        if tries < 0:  # one sign at a time, the last one, comes to an end for sure
            bad[: np.flatnonzero(bad)[-1]] = False
        inside ^= bad
