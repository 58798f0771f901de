"""Metrics of predicted values: RMSE, MAE."""

import numpy as np

from fmlab.data import Array
from fmlab_metrics._rows import finite, weighted_mean


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
