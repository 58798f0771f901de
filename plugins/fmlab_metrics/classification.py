"""Metrics of labeled rows of two classes: log loss, accuracy, F1. Scores are log-odds."""

from typing import Annotated

import numpy as np

from fmlab.data import Array
from fmlab.data.labels import probability
from fmlab.plugin.option import Range
from fmlab_metrics._rows import finite, is_positive, log_losses, ratio, weighted_mean, zero_one

Threshold = Annotated[float, Range(0, 1)]


class LogLoss:
    """Mean negative log-likelihood of 0/1 labels under log-odds s: log(1 + exp(-s)) for 1, log(1 + exp(s)) for 0.

    Source: the binary cross-entropy of LorentzFM and FmFM, computed from the score so that it cannot overflow.
    """

    name = "logloss"
    maximize = False

    def of_scores(self, score: Array, label: Array, *, weight: Array | None = None) -> tuple[float, Array | None]:
        """`score[rows]`, `label[rows]` (0/1) -> mean and the loss of each row; raises DataError for other labels."""
        return weighted_mean(log_losses(finite(score), zero_one(label, "logloss")), weight)


class _Thresholded:
    """A metric of the rows that are predicted positive."""

    maximize = True

    def __init__(
        self, *, threshold: Annotated[Threshold, "probability above which a row is predicted positive"] = 0.5
    ) -> None:
        """`threshold`: compared with the probability, the sigmoid of the score."""
        self.threshold = threshold


class Accuracy(_Thresholded):
    """Share of rows whose label is 1 where the probability is above `threshold`, and 0 elsewhere.

    Source: scikit-learn, sklearn.metrics.accuracy_score
    """

    name = "accuracy"

    def of_scores(self, score: Array, label: Array, *, weight: Array | None = None) -> tuple[float, Array | None]:
        """`score[rows]`, `label[rows]` (0/1 or -1/1) -> share, and whether each row is right."""
        right = (probability(finite(score)) > self.threshold) == is_positive(label, "accuracy")
        return weighted_mean(right.astype(np.float64), weight)


class F1(_Thresholded):
    """2 TP / (2 TP + FP + FN), rows with a probability above `threshold` being positive; 0 without any positive.

    Source: C. J. van Rijsbergen, Information Retrieval, 1979; scikit-learn, sklearn.metrics.f1_score
    """

    name = "f1"

    def of_scores(self, score: Array, label: Array, *, weight: Array | None = None) -> tuple[float, Array | None]:
        """`score[rows]`, `label[rows]` (0/1 or -1/1) -> F1 and the contribution of each row."""
        predicted, positive = probability(finite(score)) > self.threshold, is_positive(label, "f1")
        above, below = 2.0 * (predicted & positive), predicted.astype(np.float64) + positive
        if not (below if weight is None else below * weight).any():
            return 0.0, np.zeros(len(below))
        return ratio(above, below, weight)
