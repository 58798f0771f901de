"""Whether rows of a leaderboard differ over folds or repeated splits: Student's t with a corrected variance."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special

from fmlab.data import Array
from fmlab.report.significance import Comparison, holm

Figures = Mapping[int, float]
"""The figure of a row on each fold, the mean over its seeds there."""


def corrected_resampled_t(differences: Array, ratio: float) -> tuple[float, float]:
    """Two-sided p of a mean difference of 0, and the standard error, from `differences[folds]` of paired figures.

    `t = mean / sqrt((1 / K + ratio) s^2)` with K - 1 degrees of freedom, `ratio` the test rows by the training rows of
    a fold: training sets of folds overlap, so that their figures depend and s^2 / K alone is too small a variance.

    Source: Nadeau, Bengio, Inference for the generalization error, Machine Learning 52, 2003, equation 9; over
    repeated k-fold splits: Bouckaert, Frank, PAKDD 2004.
    """
    folds = len(differences)
    error = math.sqrt((1 / folds + ratio) * float(np.var(differences, ddof=1)))
    mean = abs(float(np.mean(differences)))
    if error == 0:
        return (1.0 if mean == 0 else 0.0), 0.0
    return float(2 * special.stdtr(folds - 1, -mean / error)), error


def compare_folds(
    rows: Sequence[Figures], ratio: float, references: Sequence[int], *, level: float = 0.95
) -> list[list[Comparison | None]]:
    """For each reference, each row minus it on the folds that both have; None for itself and for one fold or none.

    p is after Holm over all pairs of rows that share two folds, the interval is Student's and not corrected for their
    number.
    """
    pairs = [(a, b) for a in range(len(rows)) for b in range(a) if len(rows[a].keys() & rows[b].keys()) > 1]
    tested = {pair: corrected_resampled_t(_differences(rows, *pair), ratio) for pair in pairs}
    adjusted = dict(zip(pairs, holm([p for p, _ in tested.values()]), strict=True)) if pairs else {}
    found = []
    for at in references:
        line: list[Comparison | None] = []
        for place in range(len(rows)):
            pair = (max(place, at), min(place, at))
            if pair not in tested:
                line.append(None)
                continue
            difference = _differences(rows, place, at)
            half = float(special.stdtrit(len(difference) - 1, (1 + level) / 2)) * tested[pair][1]
            mean = float(difference.mean())
            line.append(Comparison(mean, mean - half, mean + half, adjusted[pair]))
        found.append(line)
    return found


def _differences(rows: Sequence[Figures], left: int, right: int) -> Array:
    """Figures of a row less those of another, fold by fold."""
    shared = sorted(rows[left].keys() & rows[right].keys())
    return np.array([rows[left][fold] - rows[right][fold] for fold in shared])
