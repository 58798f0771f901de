"""Metrics of ranked lists, each with all its relevant items, from their ranks: 1 is best, ties by expected position."""

from typing import Annotated, Literal

import numpy as np

from fmlab.contracts import Ranks
from fmlab.data import Array
from fmlab.errors import DataError
from fmlab.plugin.option import Range

Cut = Annotated[int, Range(1, None)]


Denominator = Annotated[Literal["relevant", "min"], "what a user's sum is divided by"]


class _Cut:
    """A metric of the first `k` places; of the whole list where k is null."""

    maximize = True
    called = ""

    def __init__(
        self, *, k: Annotated[Cut | None, "length of the list that counts; null is the whole list"] = None
    ) -> None:
        self.k, self.name = k, self.called if k is None else f"{self.called}@{k}"


class MRR(_Cut):
    """Mean reciprocal rank: 1 / rank of the best relevant item, and 0 past rank `k` if one is given.

    Source: E. M. Voorhees, The TREC-8 Question Answering Track Report, 1999
    """

    called = "mrr"

    def of_lists(self, ranks: Ranks) -> Array:
        """Reciprocal ranks; raises DataError for a rank that is below 1 or NaN."""
        best = _checked(ranks).best
        return np.where(best <= (np.inf if self.k is None else self.k), 1 / best, 0.0)


class HR(_Cut):
    """Hit ratio: the share of lists with a relevant item at rank `k` or better.

    Source: X. He et al., Neural Collaborative Filtering, WWW 2017
    """

    called = "hr"

    def __init__(self, *, k: Annotated[Cut, "length of the list that counts; null is the whole list"] = 10) -> None:
        super().__init__(k=k)

    def of_lists(self, ranks: Ranks) -> Array:
        """1 or 0; raises DataError for a rank that is below 1 or NaN."""
        assert self.k is not None
        return (_checked(ranks).best <= self.k).astype(np.float64)


class Hit(HR):
    """Hit ratio under its other name.

    Source: X. He et al., Neural Collaborative Filtering, WWW 2017
    """

    called = "hit"


class Recall(_Cut):
    """Relevant items among the first `k`, of all relevant items; `denominator=min` divides by min(k, relevant).

    Source: RecBole, RecTools and the code of LightGCN divide by the relevant items; the code of Mult-VAE (Liang et al.,
    WWW 2018) by the smaller of both.
    """

    called = "recall"

    def __init__(
        self,
        *,
        k: Annotated[Cut, "length of the list that counts; null is the whole list"] = 10,
        denominator: Denominator = "relevant",
    ) -> None:
        super().__init__(k=k)
        self.denominator = denominator

    def of_lists(self, ranks: Ranks) -> Array:
        """Shares; raises DataError for a rank that is below 1 or NaN."""
        assert self.k is not None
        found = ranks.total(_checked(ranks).within(self.k))
        return found / (np.minimum(self.k, ranks.count) if self.denominator == "min" else ranks.count)


class Precision(_Cut):
    """Relevant items among the first `k`, divided by k, also where there are fewer candidates.

    Source: C. D. Manning, P. Raghavan, H. Schütze, Introduction to Information Retrieval, 2008, section 8.4
    """

    called = "precision"

    def __init__(self, *, k: Annotated[Cut, "length of the list that counts; null is the whole list"] = 10) -> None:
        super().__init__(k=k)

    def of_lists(self, ranks: Ranks) -> Array:
        """Shares; raises DataError for a rank that is below 1 or NaN."""
        assert self.k is not None
        return ranks.total(_checked(ranks).within(self.k)) / self.k


class F1(_Cut):
    """Harmonic mean of precision and recall among the first `k`, in each list: 2 hits / (k + relevant).

    Source: C. J. van Rijsbergen, Information Retrieval, 1979, chapter 7
    """

    called = "f1"

    def __init__(self, *, k: Annotated[Cut, "length of the list that counts; null is the whole list"] = 10) -> None:
        super().__init__(k=k)

    def of_lists(self, ranks: Ranks) -> Array:
        """Means; raises DataError for a rank that is below 1 or NaN."""
        assert self.k is not None
        return 2 * ranks.total(_checked(ranks).within(self.k)) / (self.k + ranks.count)


class NDCG(_Cut):
    """Normalized discounted cumulative gain: the sum of gain / log2(1 + rank) within `k`, over that of the best list.

    Source: K. Järvelin, J. Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques, ACM TOIS 2002

    `gains=binary`: 1 for each relevant item, the best list begins with min(k, relevant) of them. `gains=label`: the
    item's label, as trec_eval and scikit-learn; `gains=exponential`: 2^label - 1, of Burges et al., ICML 2005.
    """

    called = "ndcg"

    def __init__(
        self,
        *,
        k: Annotated[Cut | None, "length of the list that counts; null is the whole list"] = None,
        gains: Annotated[Literal["binary", "label", "exponential"], "how relevance becomes gain"] = "binary",
    ) -> None:
        super().__init__(k=k)
        self.gains = gains
        if gains != "binary":
            self.of_lists = self._graded  # type: ignore  # only this form needs labels

    def of_lists(self, ranks: Ranks) -> Array:
        """Gains; raises DataError for a rank that is below 1 or NaN."""
        gained = ranks.total(np.where(_checked(ranks).within(self.k), 1 / np.log2(1 + ranks.rank), 0.0))
        most = int(ranks.count.max()) if len(ranks) else 0
        ideal = np.cumsum(1 / np.log2(2.0 + np.arange(most if self.k is None else min(most, self.k))))
        return gained / ideal[np.minimum(ranks.count, len(ideal)) - 1]

    def _graded(self, ranks: Ranks, *, gains: Array) -> Array:
        gain = gains if self.gains == "label" else np.exp2(gains) - 1
        wrong = int((~(gain >= 0)).sum())
        if wrong:
            raise DataError(f"gains of ndcg are labels of at least 0, got {wrong:,} that are less or not a number")
        gained = ranks.total(np.where(_checked(ranks).within(self.k), gain / np.log2(1 + ranks.rank), 0.0))
        order = np.lexsort((-gain, ranks.owner))
        place = np.arange(len(gain)) - np.repeat(ranks.begin[:-1], ranks.count) + 1
        shown = place <= (np.inf if self.k is None else self.k)
        ideal = ranks.total(np.where(shown, gain[order] / np.log2(1 + place), 0.0))
        return np.divide(gained, ideal, out=np.zeros(len(ranks)), where=ideal > 0)


class MAP(_Cut):
    """Mean average precision: the precision at the rank of each relevant item within `k`, over min(k, relevant).

    Source: C. Buckley, E. M. Voorhees, Evaluating Evaluation Measure Stability, SIGIR 2000. RecBole divides by the
    smaller of k and the relevant items; trec_eval and ranx by all relevant items: `denominator=relevant`.
    """

    called = "map"

    def __init__(
        self,
        *,
        k: Annotated[Cut | None, "length of the list that counts; null is the whole list"] = None,
        denominator: Denominator = "min",
    ) -> None:
        super().__init__(k=k)
        self.denominator = denominator

    def of_lists(self, ranks: Ranks) -> Array:
        """Average precisions; raises DataError for a rank that is below 1 or NaN."""
        total = ranks.total(np.where(_checked(ranks).within(self.k), ranks.place / ranks.rank, 0.0))
        if self.denominator == "relevant" or self.k is None:
            return total / ranks.count
        return total / np.minimum(self.k, ranks.count)


class RPrecision(_Cut):
    """Precision among as many first items as there are relevant ones.

    Source: C. Buckley, E. M. Voorhees, Evaluating Evaluation Measure Stability, SIGIR 2000
    """

    called = "r_precision"

    def __init__(self) -> None:
        super().__init__()

    def of_lists(self, ranks: Ranks) -> Array:
        """Shares; raises DataError for a rank that is below 1 or NaN."""
        return ranks.total(_checked(ranks).rank <= ranks.count[ranks.owner]) / ranks.count


class ListAUC(_Cut):
    """The chance that a relevant item stands before one that is not, of the same list; ties count half.

    Source: S. Rendle et al., BPR: Bayesian Personalized Ranking from Implicit Feedback, UAI 2009, section 4.1.1

    Undefined, and left out of the mean, for a list in which all candidates are relevant.
    """

    called = "auc"

    def __init__(self) -> None:
        super().__init__()

    def of_lists(self, ranks: Ranks, *, candidates: Array) -> Array:
        """Areas; raises DataError for a rank that is below 1 or NaN."""
        n, others = ranks.count, candidates - ranks.count
        wrong = ranks.total(_checked(ranks).rank) - n * (n + 1) / 2
        return np.asarray(1 - np.divide(wrong, n * others, out=np.full(len(ranks), np.nan), where=others > 0))


def _checked(ranks: Ranks) -> Ranks:
    wrong = int((~(ranks.rank >= 1)).sum())
    if wrong:
        raise DataError(
            f"a rank must be at least 1, got {wrong:,} of {ranks.rank.size:,} that are less or not a number"
        )
    return ranks
