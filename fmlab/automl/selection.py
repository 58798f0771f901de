"""Which models an ensemble is made of, and how much each counts, by their scores of the validation rows.

Source: Caruana et al., Ensemble selection from libraries of models, ICML 2004: models are added one at a time, with
replacement, each time the one that lowers the loss most. The calibration is that of Platt, 1999.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from fmlab.data import Array

ROUNDS = 60
BOUND = 20.0  # of log-odds, so that no row decides
LEAST_ROWS = 1000  # that two numbers of a calibration are fitted on
_BLOCK = 1 << 16  # rows of all models that are compared at once


def greedy(scores: Array, label: Array, *, log_odds: bool, rounds: int = ROUNDS, until: float | None = None) -> Array:
    """Weights float64[models] that add up to 1, for `scores[models, rows]` and `label[rows]`.

    The loss is log loss of log-odds with labels 0 and 1, else the squared error. Of the ensembles of 1 to `rounds`
    members the best is taken. `until`: time.monotonic() after which no further member is looked for.
    """
    scores = np.clip(scores, -BOUND, BOUND) if log_odds else scores
    count = np.zeros(len(scores), np.int64)
    total = np.zeros(scores.shape[1], np.float32)
    best, least = count, np.inf
    for size in range(1, rounds + 1):
        if size > 1 and until is not None and time.monotonic() > until:
            break
        losses = _losses(scores, total, size, label, log_odds)
        chosen = int(np.argmin(losses))
        count = count + (np.arange(len(count)) == chosen)
        total = total + scores[chosen]
        if losses[chosen] < least:
            best, least = count, losses[chosen]
    return best / best.sum()


def greedy_by(
    value: Callable[[Array], float], models: int, *, maximize: bool, rounds: int, until: float | None = None
) -> Array:
    """Weights float64[models] that add up to 1 by the `value` of a mixture, else as `greedy`."""
    count, best, most = np.zeros(models), np.zeros(models), -np.inf
    for size in range(1, rounds + 1):
        found = np.full(models, -np.inf)
        for model in range(models):
            if size > 1 and until is not None and time.monotonic() > until:
                break
            figure = value((count + (np.arange(models) == model)) / size)
            found[model] = figure if maximize else -figure
        chosen = int(np.argmax(found))
        if not np.isfinite(found[chosen]):
            break
        count = count + (np.arange(models) == chosen)
        if found[chosen] > most:
            best, most = count, found[chosen]
    return np.asarray(best / best.sum())


def affordable(weights: Array, seconds: Sequence[float], until: float | None) -> Array:
    """Weights that add up to 1, without the least ones where judging their models would last longer than `until`.

    `seconds[models]`: what judging each takes. The model of the largest weight stays.
    """
    kept = weights.copy()
    left = np.inf if until is None else until - time.monotonic()
    for model in np.argsort(weights, kind="stable"):
        if np.count_nonzero(kept) > 1 and kept[model] and float(np.asarray(seconds)[kept > 0].sum()) > left:
            kept[model] = 0.0
    return kept / kept.sum()


def _losses(scores: Array, total: Array, size: int, label: Array, log_odds: bool) -> Array:
    """The loss of the mean of `size` members, for each model as the last of them."""
    found = np.zeros(len(scores))
    for low in range(0, scores.shape[1], _BLOCK):
        rows = slice(low, low + _BLOCK)
        mean = (scores[:, rows] + total[rows]) / np.float32(size)
        found += loss_of(mean, label[rows], log_odds=log_odds).sum(1)
    return found / scores.shape[1]


def loss_of(score: Array, label: Array, *, log_odds: bool) -> Array:
    """The loss of each score `[..., rows]`."""
    if log_odds:
        return np.logaddexp(0, np.where(label > 0, -score, score))
    return np.square(score - label)


def calibrated(score: Array, label: Array) -> tuple[float, float]:
    """`(scale, bias)` that make `scale * score + bias` the log-odds of `label[rows]`, 0 or 1, with the least log loss.

    (1, 0) where rows are too few, or where nothing is gained.
    """
    if len(score) < LEAST_ROWS:
        return 1.0, 0.0
    design = np.column_stack([np.clip(score, -BOUND, BOUND), np.ones(len(score))]).astype(np.float64)

    def judged(weight: Array) -> tuple[float, Array]:
        logit = design @ weight
        return float(loss_of(logit, label, log_odds=True).mean()), design.T @ (expit(logit) - label) / len(label)

    found = minimize(judged, np.array([1.0, 0.0]), jac=True, method="BFGS").x
    before, after = (loss_of(design @ v, label, log_odds=True).mean() for v in (np.array([1.0, 0.0]), found))
    if not np.isfinite(after) or after >= before or found[0] <= 0:
        return 1.0, 0.0
    return float(found[0]), float(found[1])
