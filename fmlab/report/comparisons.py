"""Whether the rows of a leaderboard differ: tests on what each case contributed to the figures of each run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from fmlab.data import Array
from fmlab.errors import DataError, FmlabError, choices
from fmlab.plugin import registry
from fmlab.records.per_case import read_units, unit_names
from fmlab.report.fold_tests import compare_folds
from fmlab.report.leaderboards import Leaderboard, Row
from fmlab.report.runs import Run, number
from fmlab.report.significance import Comparison, Groups, OfMean, SeedScores, compare

_FILE = "units.npz"
_CASES = ("row", "user")  # what tells one case from another


@dataclass(frozen=True)
class Comparisons:
    """Rows against a reference, by place in `board.own`; a row is absent where it cannot be compared, `why` says why.

    `metric` is the one compared, None where no row has units. `cases`: what was drawn, "users", "rows" or "folds".
    `pairs`: how many pairs of rows were tested, by whose number p is corrected.
    """

    reference: Row
    metric: str | None = None
    found: Mapping[int, Comparison] = field(default_factory=dict)
    why: tuple[str, ...] = ()
    cases: str = "rows"
    pairs: int = 0


def against(board: Leaderboard, references: Sequence[Row]) -> list[Comparisons]:
    """Each row of a board against each of some of them, corrected for all pairs of the board's rows (Holm).

    The metric is the one that selects models, or the first that has a value for each case in the units of all rows.
    Where rows have runs on several folds, which share no test cases, the folds are what is drawn.
    """
    if any(len(_folds(row, board.monitor)) > 1 for row in board.own):
        return _over_folds(board, references)
    why: list[str] = []
    named = {place: names for place, row in enumerate(board.own) if (names := _names(row, why))}
    metric = _metric(board, list(named.values()))
    if metric is None:
        return [Comparisons(r, why=tuple(why) or ("no metric has a value for each case",)) for r in references]
    of_mean, seed_scores = _of_mean(metric), dict[int, SeedScores]()
    groups, cases = None, "rows"
    for place in sorted(named, key=lambda at: board.own[at] is not references[0]):  # its cases are those of the tests
        row = board.own[place]
        try:
            if groups is None:
                units = _units(row.runs[0], _CASES)
                seed_scores[place] = _seed_scores(row, first := Groups.of(units), metric, of_mean)
                groups, cases = first, "users" if "user" in units else "rows"
            else:
                seed_scores[place] = _seed_scores(row, groups, metric, of_mean)
        except (ValueError, FmlabError) as error:
            why.append(f"{row.title}: {error}")
    places = [place for place in seed_scores if any(board.own[place] is r for r in references)]
    lines: list[list[Comparison | None]] = []
    if groups is not None and places and len(seed_scores) > 1:
        at = [list(seed_scores).index(place) for place in places]
        lines = compare(list(seed_scores.values()), groups.count, at, of_mean=of_mean)
    found = {
        id(board.own[place]): {p: test for p, test in zip(seed_scores, line, strict=True) if test is not None}
        for place, line in zip(places, lines, strict=False)
    }
    pairs = math.comb(sum(j.several for j in seed_scores.values()), 2)
    return [Comparisons(r, metric, found.get(id(r), {}), tuple(why), cases, pairs) for r in references]


def _folds(row: Row, metric: str) -> dict[int, float]:
    """The mean test figure of a row on each of its folds."""
    found: dict[int, list[float]] = {}
    for run in row.runs:
        found.setdefault(run.repetition[1], []).append(number(run.content["test"].get(metric)))
    return {fold: float(np.mean(values)) for fold, values in found.items() if np.isfinite(values).all()}


def _over_folds(board: Leaderboard, references: Sequence[Row]) -> list[Comparisons]:
    """Each row against references by the corrected resampled t-test, `fmlab.report.fold_tests`."""
    ratios = [ratio for row in board.own for run in row.runs if (ratio := run.test_to_training) is not None]
    if not ratios:
        unknown = ("the runs do not say how many rows they were trained and tested on",)
        return [Comparisons(r, why=unknown) for r in references]
    figures = [_folds(row, board.monitor) for row in board.own]
    why = tuple(f"{row.title}: runs on one fold" for row, f in zip(board.own, figures, strict=True) if len(f) < 2)
    at = [next(n for n, row in enumerate(board.own) if row is r) for r in references]
    lines = compare_folds(figures, max(ratios), at)
    pairs = sum(len(a.keys() & b.keys()) > 1 for a, b in combinations(figures, 2))
    found = [{place: test for place, test in enumerate(line) if test is not None} for line in lines]
    return [Comparisons(r, board.monitor, f, why, "folds", pairs) for r, f in zip(references, found, strict=True)]


def baseline(board: Leaderboard, model: str) -> Row | None:
    """The row of a model that is best on the validation, None if the board has none."""
    return next((row for row in board.own if row.model == model), None)


def refuse_unknown(leaderboards: Sequence[Leaderboard], model: str) -> None:
    """Raises FmlabError if no board has a model of that name."""
    known = {row.model for board in leaderboards for row in board.own}
    if model not in known:
        raise FmlabError(f"a baseline must be a model of the report, got {model!r}; {choices(model, known)}")


def _metric(board: Leaderboard, named: Sequence[set[str]]) -> str | None:
    """The metric to compare: one that all rows have units of, else one that some have; None where none has any."""
    metrics = (board.monitor, *board.metrics)
    of_all = (m for m in metrics if named and all(m in names for names in named))
    return next(of_all, next((m for m in metrics if any(m in names for names in named)), None))


def _names(row: Row, why: list[str]) -> set[str]:
    """What the units of all runs of a row have; empty if one cannot be read, which `why` then says."""
    found = []
    for run in row.runs:
        try:
            found.append(unit_names(run.folder / _FILE))
        except ValueError as error:
            why.append(str(error))
            return set()
    return set.intersection(*found)


def _units(run: Run, names: Sequence[str]) -> dict[str, Array]:
    """Some of what a run left of each test case; what it has none of is absent."""
    return read_units(run.folder / _FILE, names)


def _seed_scores(row: Row, groups: Groups, metric: str, of_mean: OfMean) -> SeedScores:
    """The figures and units of a row's runs; raises DataError where the units do not give the figures."""
    values, sums = [], []
    for run in row.runs:
        each = groups.sums(_units(run, (*_CASES, metric)), metric)
        figure = float(of_mean(np.asarray(each.sum() / groups.count.sum())))
        values.append(number(run.content["test"].get(metric)))
        if not math.isclose(figure, values[-1], rel_tol=1e-3, abs_tol=1e-6):
            raise DataError(f"{run.folder / _FILE} gives a {metric} of {figure:.6g}, metrics.json {values[-1]:.6g}")
        sums.append(each)
    return SeedScores(np.array(values), np.stack(sums))


def _of_mean(metric: str) -> OfMean:
    """How a metric follows from the mean of its cases' contributions: as its plugin says, else it is the mean."""
    try:
        plugin = registry.load("metric", metric.removeprefix("sampled_").partition("@")[0].partition(":")[0])
    except FmlabError:  # no longer installed
        plugin = None
    found: OfMean = getattr(plugin, "of_mean", _same)
    return found


def _same(mean: Array) -> Array:
    return mean
