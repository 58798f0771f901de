"""Areas under curves: ROC AUC, AUC within groups (GAUC), area under the precision-recall curve.

The AUC of a ranked list is in `ranking.py`.
"""

from typing import Annotated, Any, Literal

import numpy as np

from fmlab.data import Array
from fmlab.errors import DataError
from fmlab_metrics._rows import both_classes, finite, is_positive, tie_ends


class AUC:
    """Area under the ROC curve: the chance that a positive row scores above a negative one, ties counting half.

    Source: J. A. Hanley, B. J. McNeil, The Meaning and Use of the Area under a ROC Curve, Radiology 1982

        AUC = (sum of the ranks of positives - P (P + 1) / 2) / (P N)        P positives, N negatives, ties: mean rank

    A row contributes AUC + (P + N) / P (share of the negatives below it - AUC) if it is positive, and likewise
    (P + N) / N (share of the positives above it - AUC) if negative: their mean is AUC, and on resampled rows it is
    that of these rows to first order. With row weights, a pair counts as the product of its weights.
    Source: E. R. DeLong et al., Comparing the Areas under Two or More Correlated ROC Curves, Biometrics 1988
    """

    name = "auc"
    maximize = True

    def of_scores(self, score: Array, label: Array, *, weight: Array | None = None) -> tuple[float, Array | None]:
        """`score[rows]`, `label[rows]` (0/1 or -1/1) -> AUC and the contribution of each row.

        Raises DataError with one class, or other labels.
        """
        score, positive = finite(score), is_positive(label, "auc")
        if weight is not None:
            return _weighted_auc(score, positive, weight)
        n = positive.size
        p = int(positive.sum())
        if p in (0, n):
            raise DataError(f"auc is undefined on one class: all {n:,} labels are {'positive' if p else 'negative'}")
        order = np.argsort(score)
        ranked = score[order]
        last = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True]) + 1  # ends of runs of equal scores
        first = np.r_[1, last[:-1] + 1]
        hit = positive[order]
        hits = np.add.reduceat(hit.astype(np.int64), first - 1)
        total = float(((first + last) * hits).sum()) / 2
        value = (total - p * (p + 1) / 2) / (p * (n - p))
        size, before = last - first + 1, np.cumsum(hits) - hits
        of_positive = value + n / p * ((first - 1 - before + (size - hits) / 2) / (n - p) - value)
        of_negative = value + n / (n - p) * (1 - (before + hits / 2) / p - value)
        if len(size) < n:
            of_positive, of_negative = np.repeat(of_positive, size), np.repeat(of_negative, size)
        each = np.empty(n, np.float32)
        each[order] = np.where(hit, of_positive, of_negative)
        return value, each


class GAUC:
    """Mean of the AUC of each group, weighted by the rows of the group, or by its positives.

    Source: H. Zhu et al., Optimized Cost per Click in Taobao Display Advertising, KDD 2017, equation 9

    Groups of one class are left out, and counted (`details`). Row weights count in the pairs of a group and in its
    weight.
    """

    name = "gauc"
    maximize = True

    def __init__(
        self, *, weighting: Annotated[Literal["rows", "positives"], "what groups are weighted by"] = "rows"
    ) -> None:
        """What a group is weighted by."""
        self.weighting = weighting

    def of_scores(
        self, score: Array, label: Array, *, group: Array, weight: Array | None = None
    ) -> tuple[float, Array | None]:
        """`score[rows]`, `label[rows]` (0/1 or -1/1), `group[rows]` -> mean and the contribution of each row.

        Raises DataError where every group has one class.
        """
        auc, share, kept, place = self._groups(score, label, group, weight)
        whole = share[kept].sum()
        if not whole:
            raise DataError(f"gauc is undefined: each of the {len(auc):,} groups has rows of one class")
        value = float((auc * share)[kept].sum() / whole)
        size = np.bincount(place, minlength=len(auc))
        each = np.where(kept, share * (auc - value), 0.0) / size * (len(place) / whole)
        return value, value + each[place]

    def details(self, score: Array, label: Array, *, group: Array, weight: Array | None = None) -> dict[str, Any]:
        """How many groups count, and how many are left out because their rows are of one class."""
        _, _, kept, _ = self._groups(score, label, group, weight)
        return {"groups": int(kept.sum()), "groups_of_one_class": int((~kept).sum())}

    def _groups(
        self, score: Array, label: Array, group: Array, weight: Array | None
    ) -> tuple[Array, Array, Array, Array]:
        """AUC and weight of each group, whether it has both classes, and the group of each row."""
        score, positive = finite(score), is_positive(label, "gauc")
        weight = np.ones(len(score)) if weight is None else np.asarray(weight, np.float64)
        names, place = np.unique(np.asarray(group), return_inverse=True)
        order = np.lexsort((score, place))
        ends = tie_ends(place[order], score[order])
        begin = np.r_[0, ends[:-1]]
        hits, misses = (np.add.reduceat(np.where(c, weight, 0.0)[order], begin) for c in (positive, ~positive))
        owner = place[order][begin]
        first = np.searchsorted(owner, np.arange(len(names)))
        before = np.cumsum(misses) - misses
        pairs = hits * (before - before[first][owner] + misses / 2)
        total, p, n = (np.add.reduceat(a, first) for a in (pairs, hits, misses))
        kept = (p > 0) & (n > 0)
        auc = np.divide(total, p * n, out=np.zeros(len(names)), where=kept)
        return auc, p + n if self.weighting == "rows" else p, kept, place


class PRAUC:
    """Average precision: sum over distinct scores, from the highest, of (recall - recall before) x precision.

    Source: scikit-learn, sklearn.metrics.average_precision_score
    """

    name = "pr_auc"
    maximize = True

    def of_scores(self, score: Array, label: Array, *, weight: Array | None = None) -> tuple[float, None]:
        """`score[rows]`, `label[rows]` (0/1 or -1/1) -> average precision; raises DataError without positives."""
        score, positive = finite(score), is_positive(label, "pr_auc")
        weight = np.ones(len(score)) if weight is None else np.asarray(weight, np.float64)
        if not weight[positive].sum():
            raise DataError(f"pr_auc is undefined without positives, got {positive.size:,} negatives")
        order = np.argsort(-score, kind="stable")
        ends = tie_ends(score[order]) - 1
        hits, rows = np.cumsum((weight * positive)[order])[ends], np.cumsum(weight[order])[ends]
        precision = np.divide(hits, rows, out=np.zeros(len(rows)), where=rows > 0)
        return float((np.diff(hits, prepend=0.0) * precision).sum() / hits[-1]), None


def _weighted_auc(score: Array, positive: Array, weight: Array) -> tuple[float, Array]:
    """AUC in which a pair of rows counts as the product of their weights, and the contribution of each row."""
    weight = both_classes(positive, "auc", weight)
    order = np.argsort(score)
    ends = tie_ends(score[order])
    begin = np.r_[0, ends[:-1]]
    hits, misses = (np.add.reduceat(np.where(chosen, weight, 0.0)[order], begin) for chosen in (positive, ~positive))
    p, n = hits.sum(), misses.sum()
    below, above = np.cumsum(misses) - misses / 2, p - (np.cumsum(hits) - hits / 2)
    value = float((hits * below).sum() / (p * n))
    size = np.diff(np.r_[0, ends])
    each = np.empty(len(score))
    of_positive, of_negative = np.repeat(below / n - value, size) / p, np.repeat(above / p - value, size) / n
    each[order] = np.where(positive[order], of_positive, of_negative)
    return value, value + each * weight * len(score)
