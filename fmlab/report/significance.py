"""Whether rows of a leaderboard differ: tests over training seeds and test cases. The method: docs/significance.md."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import special

from fmlab.data import Array
from fmlab.errors import DataError, choices

OfMean = Callable[[Array], Array]
"""A metric as a function of the mean of what the cases contribute to it: a root for RMSE, mostly the mean itself."""

_GROUPS = 1 << 14  # groups of cases that are drawn; of more users or rows, equally many random ones make a group
_CELLS = 1 << 22  # numbers held at once by the bootstrap, and by the p-values of many pairs
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(120)


class Comparison(NamedTuple):
    """A row against a reference: difference of the metric, its interval, and p after Holm over all pairs of the board.

    `p` is None where one of the two has one run: nothing is known of its training noise, and the interval is of the
    test cases alone.
    """

    difference: float
    low: float
    high: float
    p: float | None


@dataclass(frozen=True)
class Groups:
    """Test cases by what is drawn as a whole: those of a user together, since they depend, any other case alone."""

    row: Array  # [cases]
    which: Array  # [cases]: the group of each
    count: Array  # [groups]: cases of each

    @classmethod
    def of(cls, units: Mapping[str, Array]) -> "Groups":
        """Of a report's units; raises DataError for fewer than two groups, or users that are not those of the rows."""
        row = np.asarray(units["row"])
        if row.ndim != 1 or ("user" in units and np.shape(units["user"]) != row.shape):
            raise DataError(
                f"units need one row and one user a case, got {row.shape}, {np.shape(units.get('user', row))}"
            )
        which = np.unique(units["user"], return_inverse=True)[1] if "user" in units else np.arange(len(row))
        groups = int(which.max()) + 1 if len(which) else 0
        if groups > _GROUPS:
            which = np.random.default_rng(0).permutation(groups)[which] % _GROUPS
        if groups < 2:
            raise DataError(f"a test needs 2 or more users or rows, got {groups}")
        return cls(row, which, np.bincount(which).astype(np.float64))

    def sums(self, units: Mapping[str, Array], metric: str) -> Array:
        """Sums[groups] of what the cases contribute to a metric.

        Raises DataError if the units are of other rows, have none of that metric, or are not finite.
        """
        if metric not in units:
            raise DataError(f"{metric!r} has no value for each case; {choices(metric, set(units) - {'row', 'user'})}")
        if not np.array_equal(units["row"], self.row):
            raise DataError(
                f"paired tests need the same test rows, got {len(self.row):,} and {len(units['row']):,} that differ"
            )
        values = np.asarray(units[metric], np.float64)
        if values.shape != self.row.shape:
            raise DataError(f"units need one value a case {self.row.shape}, got {values.shape} of {metric}")
        if not np.isfinite(values).all():
            raise DataError(f"units must be finite, got {int((~np.isfinite(values)).sum()):,} of {metric} that are not")
        return np.bincount(self.which, values, len(self.count))


@dataclass(frozen=True)
class SeedScores:
    """The runs of one row, one a seed: the metric of each, and `sums[runs, groups]` of what test cases add to it."""

    values: Array
    sums: Array

    @property
    def several(self) -> bool:
        """Whether its training noise can be told."""
        return len(self.values) > 1

    @cached_property
    def variance(self) -> float:
        """Variance of one run's value over seeds; 0 of runs that are all equal."""
        return float(np.var(self.values, ddof=1)) if np.ptp(self.values) else 0.0


def compare(
    rows: Sequence[SeedScores],
    count: Array,
    references: Sequence[int],
    *,
    of_mean: OfMean = lambda mean: mean,
    level: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
) -> list[list[Comparison | None]]:
    """For each reference, each row minus it; None for itself. `count[groups]`: cases of each group.

    The interval is of percentiles of the metric computed again on groups drawn with replacement (Efron, 1979), the
    same for all rows. Where both rows have several runs, each draw has the seeds' part of the noise as well, from
    Student's distribution of their deviations.
    """
    if not 0 < level < 1:
        raise DataError(f"a confidence level lies between 0 and 1, got {level}")
    p = pair_p_values(rows, count, of_mean=of_mean)
    drawn = _resampled(rows, count, of_mean, resamples, seed)
    ends, found = [(1 - level) / 2, (1 + level) / 2], []
    for at in references:
        line: list[Comparison | None] = []
        for place, row in enumerate(rows):
            if place == at:
                line.append(None)
                continue
            differences = drawn[:, place] - drawn[:, at]
            if row.several and rows[at].several:
                variance, freedom = _training_noise((row, rows[at]), np.array([0]), np.array([1]))
                rng = np.random.default_rng((seed, place, at))
                differences = differences + np.sqrt(variance) * rng.standard_t(freedom, resamples)
            low, high = np.quantile(differences, ends)
            chance = float(p[place, at])
            difference = float(row.values.mean() - rows[at].values.mean())
            line.append(Comparison(difference, float(low), float(high), None if math.isnan(chance) else chance))
        found.append(line)
    return found


def pair_p_values(rows: Sequence[SeedScores], count: Array, *, of_mean: OfMean = lambda mean: mean) -> Array:
    """p[rows, rows] of equal expected figures, two-sided, after Holm over all pairs of rows with several runs.

    NaN where a row has one run. The noise of a difference has two parts. The seeds' is estimated from few runs, of
    each row for itself, as recipes differ in it. The cases', paired over both rows, is estimated from many: it is the
    variance of the groups' mean influences, less what training adds to it, which the first part holds.
    """
    found = np.full((len(rows), len(rows)), np.nan)
    able = [place for place, row in enumerate(rows) if row.several]
    left, right = np.triu_indices(len(able), 1)
    if not len(left):
        return found
    groups = len(count)
    influences = [_influences(rows[a].sums, count, of_mean) for a in able]
    mixed = np.array([float(each.var(0, ddof=1).sum()) / len(each) for each in influences])
    mean = np.stack([each.mean(0) for each in influences])
    product = mean @ mean.T
    whole = np.diag(product)[left] + np.diag(product)[right] - 2 * product[left, right]
    of_cases = np.maximum(whole - mixed[left] - mixed[right], 0) / (groups * (groups - 1))
    variance, freedom = _training_noise([rows[a] for a in able], left, right)
    centers = np.array([rows[a].values.mean() for a in able])
    step = _CELLS // len(_NODES)
    parts = []
    for low in range(0, len(left), step):
        part = slice(low, low + step)
        difference = centers[left[part]] - centers[right[part]]
        parts.append(chance_of(difference, variance[part], freedom[part], of_cases[part], groups - 1))
    adjusted = holm(np.concatenate(parts).tolist())
    places = np.asarray(able)
    found[places[left], places[right]] = found[places[right], places[left]] = adjusted
    return found


def chance_of(difference: Array, variance: Array, freedom: Array, of_cases: Array, cases: int) -> Array:
    """P(|noise| >= |difference|) of noise with two independent parts, for arrays of one shape.

    The first part is sqrt(`variance`) times a Student variable of `freedom` degrees, the second has the variance
    `of_cases`, estimated with `cases` degrees. Given the first part's chi-square variable the sum is nearly Student's
    of `cases` degrees; the mean over that variable is taken by quadrature. Unlike Satterthwaite's rule it does not
    take a small estimate of few seeds for a sure one.
    """
    d, v, f, c = (np.asarray(a, np.float64)[..., None] for a in (difference, variance, freedom, of_cases))
    low = np.log(np.maximum(special.chdtri(f, 1 - 1e-13), 1e-300) / f)
    high = np.log(special.chdtri(f, 1e-13) / f)
    u = low + (high - low) * (_NODES + 1) / 2  # logarithm of chi-square / f
    x = np.exp(u) * f
    density = np.exp(f / 2 * np.log(x / 2) - x / 2 - special.gammaln(f / 2)) * _WEIGHTS * (high - low) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.abs(d) / np.sqrt(v * f / x + c)
    ratio = np.where(d == 0, 0.0, ratio)  # no difference is no evidence, also where nothing varies
    tail = 2 * special.stdtr(cases, -ratio)
    return np.minimum((tail * density).sum(-1) / density.sum(-1), 1.0)


def _training_noise(rows: Sequence[SeedScores], left: Array, right: Array) -> tuple[Array, Array]:
    """Variances of differences of rows' mean figures over seeds, and their degrees of freedom (Welch, 1947)."""
    freedom = np.array([len(row.values) - 1.0 for row in rows])
    each = np.array([row.variance for row in rows]) / (freedom + 1)
    variance = each[left] + each[right]
    with np.errstate(invalid="ignore"):  # of rows that do not vary
        parts = (each[left] / variance) ** 2 / freedom[left] + (each[right] / variance) ** 2 / freedom[right]
    return variance, np.where(variance > 0, 1 / parts, freedom[left] + freedom[right])


def _influences(sums: Array, count: Array, of_mean: OfMean) -> Array:
    """What each group moves a figure by, [runs, groups], of mean 0: differences of the jackknife (Efron, 1979)."""
    total = sums.sum(1, keepdims=True)
    moved = (len(count) - 1) * (of_mean(total / count.sum()) - of_mean((total - sums) / (count.sum() - count)))
    return np.asarray(moved - moved.mean(1, keepdims=True))


def _resampled(rows: Sequence[SeedScores], count: Array, of_mean: OfMean, resamples: int, seed: int) -> Array:
    """Mean figures[resamples, rows] over the runs of each row, on groups drawn with replacement, the same for all."""
    groups, rng = len(count), np.random.default_rng(seed)
    sums = np.concatenate([row.sums for row in rows]).T
    starts = np.cumsum([0] + [len(row.sums) for row in rows[:-1]])
    runs = np.array([len(row.sums) for row in rows])
    step = max(1, _CELLS // max(groups, sums.shape[1]))
    parts = []
    for done in range(0, resamples, step):
        size = min(step, resamples - done)
        drawn = rng.integers(groups, size=(size, groups)) + groups * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * groups).reshape(size, groups).astype(np.float64)
        figures = of_mean(times @ sums / (times @ count)[:, None])
        parts.append(np.add.reduceat(figures, starts, axis=1) / runs)
    return np.concatenate(parts)


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
