"""Metrics of the first k items of all lists: how much of the catalog they show, how popular, how alike they are."""

from typing import Annotated

import numpy as np

from fmlab.contracts import Ranks
from fmlab.data import Array
from fmlab.errors import DataError
from fmlab.plugin.option import Range

Cut = Annotated[int, Range(1, None)]
_CELLS = 1 << 22  # comparisons of attributes held at once


class _Top:
    maximize = True
    called = ""

    def __init__(self, *, k: Annotated[Cut, "length of the list that counts; null is the whole list"] = 10) -> None:
        self.k, self.name = k, f"{self.called}@{k}"


class Coverage(_Top):
    """The share of all items that stand among the first `k` of some list.

    Source: M. Ge, C. Delgado-Battenfeld, D. Jannach, Beyond Accuracy, RecSys 2010, catalog coverage
    """

    called = "coverage"

    def of_lists(self, ranks: Ranks, *, top: Array, popularity: Array) -> float:
        """One number for all lists."""
        return float(np.count_nonzero(_shown(top, len(popularity))) / len(popularity))


class Gini(_Top):
    """The Gini index of how often each item stands among the first `k`: 0 if all do equally, near 1 if few do.

    Source: G. Shani, A. Gunawardana, Evaluating Recommendation Systems, 2011, section 8.3.3.2

    `sum_i (2 i - n - 1) s_i / (n sum s)`, items sorted by how often they are shown; items never shown count.
    """

    called = "gini"
    maximize = False

    def of_lists(self, ranks: Ranks, *, top: Array, popularity: Array) -> float:
        """One number for all lists."""
        shown = np.sort(_shown(top, len(popularity)))
        n = len(shown)
        return float(((2 * np.arange(1, n + 1) - n - 1) * shown).sum() / (n * shown.sum()))


class Entropy(_Top):
    """The Shannon entropy, in bits, of which item stands among the first `k`.

    Source: G. Shani, A. Gunawardana, Evaluating Recommendation Systems, 2011, section 8.3.3.2
    """

    called = "entropy"

    def of_lists(self, ranks: Ranks, *, top: Array, popularity: Array) -> float:
        """One number for all lists."""
        shown = _shown(top, len(popularity))
        share = shown[shown > 0] / shown.sum()
        return float(-(share * np.log2(share)).sum())


class Novelty(_Top):
    """Mean self-information of the first `k`, in bits: -log2 of the share of users whom the item was trained with.

    Source: T. Zhou et al., Solving the Apparent Diversity-Accuracy Dilemma of Recommender Systems, PNAS 2010

    An item without training interactions counts as one with a single one.
    """

    called = "novelty"

    def of_lists(self, ranks: Ranks, *, top: Array, popularity: Array, n_users: int) -> Array:
        """Mean of each list."""
        return _mean(-np.log2(np.maximum(popularity, 1) / n_users), top)


class Popularity(_Top):
    """Mean number of training interactions of the first `k`.

    Source: H. Abdollahpouri, R. Burke, B. Mobasher, Managing Popularity Bias in Recommender Systems with Personalized
    Re-ranking, FLAIRS 2019, average recommendation popularity
    """

    called = "popularity"
    maximize = False

    def of_lists(self, ranks: Ranks, *, top: Array, popularity: Array) -> Array:
        """Mean of each list."""
        return _mean(popularity.astype(np.float64), top)


class PopularityLift(_Top):
    """How much more popular the first `k` are than the user's own training items: their ratio, less 1.

    Source: H. Abdollahpouri et al., The Connection Between Popularity Bias, Calibration, and Fairness in
    Recommendation, RecSys 2020

    Left out of the mean are users without training interactions.
    """

    called = "popularity_lift"
    maximize = False

    def of_lists(self, ranks: Ranks, *, top: Array, popularity: Array, history_popularity: Array) -> Array:
        """Ratio of each list, less 1."""
        return _mean(popularity.astype(np.float64), top) / history_popularity - 1


class Tail(_Top):
    """The share of the first `k` that is not in the head: the fewest items with `head` of all training interactions.

    Source: H. Abdollahpouri, R. Burke, B. Mobasher, Managing Popularity Bias, FLAIRS 2019, average percentage of long
    tail items
    """

    called = "tail"

    def __init__(
        self,
        *,
        k: Annotated[Cut, "length of the list that counts; null is the whole list"] = 10,
        head: Annotated[
            float,
            Range(0.0, 1.0, open_low=True, open_high=True),
            "share of the interactions that belongs to popular items",
        ] = 0.8,
    ) -> None:
        super().__init__(k=k)
        self.head = head

    def of_lists(self, ranks: Ranks, *, top: Array, popularity: Array) -> Array:
        """Share of each list."""
        order = np.argsort(-popularity, kind="stable")
        before = np.cumsum(popularity[order]) - popularity[order]
        tail = np.ones(len(popularity))
        tail[order[before < self.head * popularity.sum()]] = 0.0
        return _mean(tail, top)


class Diversity(_Top):
    """Mean distance of every two of the first `k`: 1 less the Jaccard similarity of their attributes.

    Source: C.-N. Ziegler et al., Improving Recommendation Lists Through Topic Diversification, WWW 2005, intra-list
    similarity

    Attributes are the features of an item but its own id. The distance of an item without any to all others is 1. A
    list of one item is left out of the mean.
    """

    called = "diversity"

    def of_lists(self, ranks: Ranks, *, top: Array, attributes: Array) -> Array:
        """Mean distance of each list; raises DataError if items have no attributes."""
        width = attributes.shape[1]
        if not width:
            raise DataError("diversity is of item attributes, and these data have none but the item's id")
        own = np.sort(attributes, 1)
        own[:, 1:][own[:, 1:] == own[:, :-1]] = -1  # each attribute once
        size = (own >= 0).sum(1)
        out = np.empty(len(top))
        step = max(1, _CELLS // (top.shape[1] * width * width))
        for low in range(0, len(top), step):
            out[low : low + step] = _distance(top[low : low + step], own, size)
        return out


def _distance(top: Array, own: Array, size: Array) -> Array:
    there = top >= 0
    sets, sizes = own[top], size[top]
    total, pairs = np.zeros(len(top)), np.zeros(len(top))
    for place in range(1, top.shape[1]):
        left, right = sets[:, :-place], sets[:, place:]
        both = ((left[..., :, None] == right[..., None, :]) & (left[..., :, None] >= 0)).sum((-1, -2))
        either = sizes[:, :-place] + sizes[:, place:] - both
        counted = there[:, :-place] & there[:, place:]
        alike = np.divide(both, either, out=np.zeros(both.shape), where=either > 0)
        total += np.where(counted, 1 - alike, 0.0).sum(1)
        pairs += counted.sum(1)
    return np.asarray(np.divide(total, pairs, out=np.full(len(top), np.nan), where=pairs > 0))


def _shown(top: Array, n_items: int) -> Array:
    """How often each item is among the first."""
    return np.bincount(top[top >= 0], minlength=n_items)


def _mean(values: Array, top: Array) -> Array:
    """Mean of the items' values in each list."""
    there = top >= 0
    return np.asarray(np.where(there, values[top], 0.0).sum(1) / there.sum(1))
