"""Whether the rows of a leaderboard differ: paired tests on what each user or row of the test contributed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fmlab.data import Array
from fmlab.errors import DataError, FmlabError, choices
from fmlab.report.boards import Board, Row
from fmlab.report.significance import Comparison, compare, paired_units
from fmlab.report.units import read_units


@dataclass(frozen=True)
class Compared:
    """Rows against a reference, by place in `board.own`; a row is absent where it cannot be compared, `why` says why.

    `metric` is the one tested, None where no row has units.
    """

    reference: Row | None
    metric: str | None = None
    found: Mapping[int, Comparison] = field(default_factory=dict)
    why: tuple[str, ...] = ()


def against(board: Board, reference: Row) -> Compared:
    """Each row of a board against one of them, corrected for their number (Holm).

    Units are averaged over the seeds of a row, then over the cases of a user where cases have one. The metric is the
    one that selects models, or the first with a value for each case where that has none, as AUC.
    """
    base, why = _units(reference)
    if base is None:
        return Compared(reference, why=tuple(why))
    metric = board.monitor if board.monitor in base else next((m for m in board.metrics if m in base), None)
    if metric is None:
        return Compared(reference, why=("no metric has a value for each case",))
    places, values, start = [], [], paired_units(base, base, metric)[0]
    for place, row in enumerate(board.own):
        if row is reference:
            continue
        units, problems = _units(row)
        why += problems
        if units is not None:
            try:
                values.append(paired_units(units, base, metric)[0])
                places.append(place)
            except DataError as error:
                why.append(f"{row.title}: {error}")
    try:
        tests = compare(start, values)
    except DataError as error:
        return Compared(reference, metric, why=(*why, str(error)))
    return Compared(reference, metric, dict(zip(places, tests, strict=True)), tuple(why))


def baseline(board: Board, model: str) -> Row | None:
    """The best row of a model, None if the board has none."""
    return next((row for row in board.own if row.model == model), None)


def refuse_unknown(boards: Sequence[Board], model: str) -> None:
    """Raises FmlabError if no board has a model of that name."""
    known = {row.model for board in boards for row in board.own}
    if model not in known:
        raise FmlabError(f"a baseline must be a model of the report, got {model!r}; {choices(model, known)}")


def _units(row: Row) -> tuple[dict[str, Array] | None, list[str]]:
    """Means over the seeds of a row of what each case contributed, None if not all its runs have the same cases."""
    loaded = []
    for run in row.runs:
        path = run.folder / "units.npz"
        try:
            loaded.append(read_units(path))
        except ValueError as error:
            return None, [str(error)]
        if not np.array_equal(loaded[-1]["row"], loaded[0]["row"]):
            return None, [f"{path} is of other test rows than the other seeds"]
    first = {k: v for k, v in loaded[0].items() if all(k in u for u in loaded)}
    return {k: v if k in ("row", "user") else np.mean([u[k] for u in loaded], axis=0) for k, v in first.items()}, []
