"""Figures over scored rows. Scores are unbounded; those of click models are log-odds."""

import numpy as np

from fmlab.data import Array
from fmlab.errors import DataError
from fmlab_metrics._rows import both_classes, finite, is_positive, log_losses, tie_ends, weighted_mean, zero_one


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


class LogLoss:
    """Mean negative log-likelihood of 0/1 labels under log-odds s: log(1 + exp(-s)) for 1, log(1 + exp(s)) for 0.

    Source: the binary cross-entropy of LorentzFM and FmFM, computed from the score so that it cannot overflow.
    """

    name = "logloss"
    maximize = False

    def of_scores(self, score: Array, label: Array, *, weight: Array | None = None) -> tuple[float, Array | None]:
        """`score[rows]`, `label[rows]` (0/1) -> mean and the loss of each row; raises DataError for other labels."""
        return weighted_mean(log_losses(finite(score), zero_one(label, "logloss")), weight)


class RMSE:
    """Root of the mean squared difference between score and label.

    Source: the rating tasks of GML-FM and IFM
    """

    name = "rmse"
    maximize = False
    on_label_scale = True

    def of_scores(self, score: Array, label: Array, *, weight: Array | None = None) -> tuple[float, Array | None]:
        """`score[rows]`, `label[rows]` -> root of the mean, and the squared error of each row."""
        mean, errors = weighted_mean(np.square(finite(score) - np.asarray(label, np.float64)), weight)
        return float(np.sqrt(mean)), errors

    @staticmethod
    def of_mean(mean: Array) -> Array:
        """The figure of rows whose squared errors have this mean."""
        return np.asarray(np.sqrt(np.maximum(mean, 0.0)))  # a difference of sums may be below 0 by rounding


class MAE:
    """Mean absolute difference between score and label.

    Source: C. J. Willmott, K. Matsuura, Advantages of the Mean Absolute Error over the RMSE, Climate Research 2005
    """

    name = "mae"
    maximize = False
    on_label_scale = True

    def of_scores(self, score: Array, label: Array, *, weight: Array | None = None) -> tuple[float, Array | None]:
        """`score[rows]`, `label[rows]` -> mean, and the absolute error of each row."""
        return weighted_mean(np.abs(finite(score) - np.asarray(label, np.float64)), weight)


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
