"""Whether two models differ: paired tests over the units (users, cases, rows) that both were judged on."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fmlab.data import Array
from fmlab.errors import DataError, choices

_CELLS = 1 << 22  # units drawn at once by the bootstrap
_BLOCKS = 1 << 14  # units of a bootstrap; more are drawn in blocks


class TTest(NamedTuple):
    """A paired test: mean difference a - b, its statistic, two-sided p-value, degrees of freedom."""

    difference: float
    statistic: float
    p: float
    freedom: int


class Comparison(NamedTuple):
    """One of several models against a reference: mean difference, its bootstrap interval, p-values after Holm."""

    difference: float
    low: float
    high: float
    p_t: float
    p_bootstrap: float


def paired_units(a: Mapping[str, Array], b: Mapping[str, Array], metric: str) -> tuple[Array, Array]:
    """A metric of two reports' units on the same cases: averaged over users where cases have one, else row by row.

    Raises DataError if the reports are of different rows, or have no units of that metric.
    """
    if metric not in a or metric not in b:
        raise DataError(f"{metric!r} has no value for each case; {choices(metric, set(a) & set(b) - {'row', 'user'})}")
    if not np.array_equal(a["row"], b["row"]):
        raise DataError(
            f"paired tests need the same test rows, got {len(a['row']):,} and {len(b['row']):,} that differ"
        )
    if "user" not in a:
        return np.asarray(a[metric]), np.asarray(b[metric])
    return per_group(a[metric], a["user"]), per_group(b[metric], a["user"])


def per_group(values: Array, group: Array) -> Array:
    """Means of `values[n]` over equal `group[n]`, in the order of groups: one value a user, whose cases depend."""
    _, which = np.unique(group, return_inverse=True)
    return np.bincount(which, np.asarray(values, np.float64)) / np.bincount(which)


def paired_t_test(a: Array, b: Array) -> TTest:
    """Student's paired two-sided t-test of equal means, as in GML-FM.

    Two units or more. Differences that are all equal leave nothing to estimate: p is 1 if they are 0, else 0.
    """
    difference = _paired(a, b)
    n, mean = len(difference), float(difference.mean())
    error = float(difference.std(ddof=1)) / math.sqrt(n)
    if error <= abs(mean) * 1e-14:
        return TTest(mean, math.copysign(math.inf, mean) if mean else 0.0, 0.0 if mean else 1.0, n - 1)
    t = mean / error
    # P(|T| > t) of n - 1 degrees of freedom is a regularised incomplete beta function.
    return TTest(mean, t, _beta((n - 1) / 2, 0.5, (n - 1) / (n - 1 + t * t)), n - 1)


def compare(
    reference: Array, others: Sequence[Array], *, level: float = 0.95, resamples: int = 5000, seed: int = 0
) -> list[Comparison]:
    """Each of `others` minus `reference` on the same units; both kinds of p-value corrected for their number (Holm).

    The bootstrap (Efron, 1979) draws units with replacement, the same for all; intervals are of percentiles, each for
    itself. Its p-value is twice the share of resampled means beyond 0, no less than 2 / (resamples + 1). Of more than
    16,384 units, blocks of neighbouring ones in a random order are drawn.
    """
    _check_level(level)
    if not others:
        return []
    tests = [paired_t_test(other, reference) for other in others]
    differences = _blocks(np.stack([_paired(other, reference) for other in others], axis=1), seed)
    means = _resampled(differences, resamples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    beyond = np.minimum((means <= 0).sum(0), (means >= 0).sum(0))
    p_bootstrap = holm([float(p) for p in np.minimum(2 * (beyond + 1) / (resamples + 1), 1.0)])
    p_t = holm([t.p for t in tests])
    return [
        Comparison(t.difference, float(low[i]), float(high[i]), p_t[i], p_bootstrap[i]) for i, t in enumerate(tests)
    ]


def _blocks(differences: Array, seed: int) -> Array:
    """At most `_BLOCKS` rows: means of equally many units drawn at random, a few units left out."""
    size = -(-len(differences) // _BLOCKS)
    if size == 1:
        return differences
    order = np.random.default_rng(seed).permutation(len(differences))
    order = order[: len(order) // size * size]
    return np.asarray(differences[order].reshape(-1, size, differences.shape[1]).mean(1))


def _resampled(differences: Array, resamples: int, seed: int) -> Array:
    """Means[resamples, columns] of `differences[n, columns]` over n rows drawn with replacement, the same for all."""
    n, rng = len(differences), np.random.default_rng(seed)
    step = max(1, _CELLS // n)
    parts = []
    for done in range(0, resamples, step):
        size = min(step, resamples - done)
        drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        parts.append(counts.astype(np.float64) @ differences / n)
    return np.concatenate(parts)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise DataError(f"a confidence level lies between 0 and 1, got {level}")


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, so that any below alpha is significant at the family-wise level alpha.

    Source: S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 1979
    """
    values = np.asarray(p, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise DataError(f"p-values lie between 0 and 1, got {list(p)}")
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1.0)
    return [float(v) for v in adjusted]


def _paired(a: Array, b: Array) -> Array:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise DataError(f"a paired test needs the same 2 or more units twice, got {a.shape} and {b.shape}")
    difference = a - b
    if not np.isfinite(difference).all():
        raise DataError(f"units must be finite, got {int((~np.isfinite(difference)).sum()):,} pairs that are not")
    return difference


def _beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz's method)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges fast
        return 1 - _beta(b, a, 1 - x)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    tiny = 1e-300
    c, d = 1.0, 1 / ((1 - (a + b) * x / (a + 1)) or tiny)
    value = d
    for m in range(1, 10_000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / ((1 + numerator * d) or tiny)
            c = (1 + numerator / c) or tiny
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return math.exp(scale) * value / a
