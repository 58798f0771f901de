"""Metrics of predicted probabilities: normalized entropy, Brier score, COPC, expected calibration error (ECE).

Scores are log-odds.
"""

from typing import Annotated, Any

import numpy as np

from fmlab.data import Array
from fmlab.data.labels import probability
from fmlab.evaluation.reliability import bin_sums, curve
from fmlab.plugin.option import Range
from fmlab_metrics._rows import both_classes, finite, log_losses, ratio, weighted_mean, zero_one

GROUPS = 1000


class NE:
    """Normalized entropy: log loss by the log loss of the base rate, the mean label of the judged rows.

    Source: X. He et al., Practical Lessons from Predicting Clicks on Ads at Facebook, ADKDD 2014, equation 4
    """

    name = "ne"
    maximize = False

    def of_scores(self, score: Array, label: Array, *, weight: Array | None = None) -> tuple[float, Array | None]:
        """`score[rows]`, `label[rows]` (0/1) -> ratio and the contribution of each row; DataError with one class."""
        score, label = finite(score), zero_one(label, "ne")
        each = both_classes(label > 0, "ne", weight)
        each = each / each.mean()
        losses = log_losses(score, label)
        rate, loss = float((label * each).mean()), float((losses * each).mean())
        entropy = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))
        value, slope = loss / entropy, np.log((1 - rate) / rate)  # of the entropy by the rate
        return value, value + each * (losses - loss - value * slope * (label - rate)) / entropy


class Brier:
    """Mean squared difference between probability and label.

    Source: G. W. Brier, Verification of Forecasts Expressed in Terms of Probability, Monthly Weather Review 1950
    """

    name = "brier"
    maximize = False

    def of_scores(self, score: Array, label: Array, *, weight: Array | None = None) -> tuple[float, Array | None]:
        """`score[rows]`, `label[rows]` (0/1) -> mean and the squared difference of each row."""
        return weighted_mean(np.square(probability(finite(score)) - zero_one(label, "brier")), weight)


class COPC:
    """Clicks over predicted clicks: sum of labels by sum of probabilities. 1 is best; above, clicks are underestimated.

    Source: T. Graepel et al., Web-Scale Bayesian Click-Through Rate Prediction for Sponsored Search Advertising in
    Microsoft's Bing Search Engine, ICML 2010
    """

    name = "copc"
    maximize = False
    best = 1.0

    def of_scores(self, score: Array, label: Array, *, weight: Array | None = None) -> tuple[float, Array | None]:
        """`score[rows]`, `label[rows]` (0/1) -> ratio and the contribution of each row."""
        return ratio(zero_one(label, "copc"), probability(finite(score)), weight)

    def details(
        self, score: Array, label: Array, *, weight: Array | None = None, group: Array | None = None
    ) -> dict[str, Any]:
        """The same of each group, the 1,000 with most rows at most, where rows have groups."""
        if group is None:
            return {}
        names, place = np.unique(np.asarray(group), return_inverse=True)
        each = np.ones(len(place)) if weight is None else weight
        clicks, predicted = (
            np.bincount(place, v * each) for v in (np.asarray(label, np.float64), probability(finite(score)))
        )
        rows = np.bincount(place)
        largest = np.argsort(-rows, kind="stable")[:GROUPS]
        copc = {g: float(clicks[g] / predicted[g]) if predicted[g] else None for g in largest}
        return {"by_group": [{"group": int(names[g]), "copc": copc[g], "rows": int(rows[g])} for g in largest]}


class ECE:
    """Expected calibration error: mean over bins of |mean label - mean probability|, weighted by their rows.

    Source: M. P. Naeini, G. F. Cooper, M. Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning,
    AAAI 2015; bins of equal mass as in K. Nguyen, B. O'Connor, EMNLP 2015

    Bins hold equal shares of the rows in the order of their probabilities. Rows of equal probability are in one bin,
    that of their middle: bin floor(bins (before + size / 2) / rows).
    """

    name = "ece"
    maximize = False

    def __init__(self, *, bins: Annotated[int, Range(1, None), "number of intervals of predictions"] = 15) -> None:
        """`bins`: number of bins of equal mass."""
        self.bins = bins

    def of_scores(self, score: Array, label: Array, *, weight: Array | None = None) -> tuple[float, None]:
        """`score[rows]`, `label[rows]` (0/1) -> the error."""
        rows, predicted, observed = self._bins(score, label, weight)
        return float(np.abs(observed - predicted).sum() / rows.sum()), None

    def details(self, score: Array, label: Array, *, weight: Array | None = None) -> dict[str, Any]:
        """The reliability curve: of each bin that has rows the mean probability, the mean label and its rows."""
        return {"curve": curve(*self._bins(score, label, weight))}

    def _bins(self, score: Array, label: Array, weight: Array | None) -> tuple[Array, Array, Array]:
        """Sums over the rows of each bin: weights, probabilities, labels."""
        score, label = finite(score), zero_one(label, "ece")
        weighted_mean(label, weight)  # raises DataError without rows
        return bin_sums(score, label, weight, self.bins)
