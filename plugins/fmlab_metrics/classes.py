"""Figures of decisions and of their order: accuracy, F1, area under the precision-recall curve."""

from typing import Annotated

import numpy as np

from fmlab.data import Array
from fmlab.errors import DataError
from fmlab.plugin.option import Range
from fmlab_metrics._rows import finite, is_positive, probability, ratio, tie_ends, weighted_mean

Threshold = Annotated[float, Range(0, 1)]


class Accuracy:
    """Share of rows whose label is 1 where the probability is above `threshold`, and 0 elsewhere.

    Source: scikit-learn, sklearn.metrics.accuracy_score
    """

    name = "accuracy"
    maximize = True

    def __init__(
        self, *, threshold: Annotated[Threshold, "score from which on a row counts as positive"] = 0.5
    ) -> None:
        """Of the probability, scores being log-odds."""
        self.threshold = threshold

    def of_scores(self, score: Array, label: Array, *, weight: Array | None = None) -> tuple[float, Array | None]:
        """`score[rows]`, `label[rows]` (0/1 or -1/1) -> share, and whether each row is right."""
        right = (probability(finite(score)) > self.threshold) == is_positive(label, "accuracy")
        return weighted_mean(right.astype(np.float64), weight)


class F1:
    """2 TP / (2 TP + FP + FN), rows with a probability above `threshold` being positive; 0 without any positive.

    Source: C. J. van Rijsbergen, Information Retrieval, 1979; scikit-learn, sklearn.metrics.f1_score
    """

    name = "f1"
    maximize = True

    def __init__(
        self, *, threshold: Annotated[Threshold, "score from which on a row counts as positive"] = 0.5
    ) -> None:
        """Of the probability, scores being log-odds."""
        self.threshold = threshold

    def of_scores(self, score: Array, label: Array, *, weight: Array | None = None) -> tuple[float, Array | None]:
        """`score[rows]`, `label[rows]` (0/1 or -1/1) -> F1 and the contribution of each row."""
        said, positive = probability(finite(score)) > self.threshold, is_positive(label, "f1")
        above, below = 2.0 * (said & positive), said.astype(np.float64) + positive
        if not (below if weight is None else below * weight).any():
            return 0.0, np.zeros(len(below))
        return ratio(above, below, weight)


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
