"""What a leaderboard looks like: history, importance, parallel coordinates, curves, reliability, costs, sizes."""

import csv
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fmlab.config.overrides import text
from fmlab.report import svg
from fmlab.report.evaluation_facts import curve_of
from fmlab.report.front import front
from fmlab.report.leaderboards import Leaderboard, Row
from fmlab.report.runs import LARGEST, Run
from fmlab.report.svg import Axis, Series
from fmlab.terminal.escaping import escaped_line
from fmlab.untrusted.parsing import read_text

_CURVES = 8  # rows whose learning curves are drawn
_AXES = 7  # options in parallel coordinates
_LINES = 400  # runs in parallel coordinates
_BINS = 5  # of a number, where its importance is estimated


def plots(board: Leaderboard) -> list[str]:
    """All charts that the runs of a board allow."""
    runs = sorted((r for row in board.own for r in row.runs if math.isfinite(r.value)), key=lambda r: r.finished)
    ranked = importance(board, runs)
    made = [
        _history(board, runs),
        svg.bars(f"Importance: variance of {board.monitor} (ranks, validation)", "explained by one option", ranked[:12])
        if ranked
        else "",
        _parallel(board, runs, [name for name, _ in ranked]),
        _curves(board),
        _reliability(board),
        _cost(board, "parameters", "parameters", "parameters"),
        _cost(board, "bytes", "bytes", "bytes"),
        _cost(board, "microseconds_per_row", "microseconds a row, one core", "time of a row"),
        _cost(board, "seconds_fit", "seconds of training", "time"),
        _sizes(board),
    ]
    return [one for one in made if one]


def _history(board: Leaderboard, runs: Sequence[Run]) -> str:
    if len(runs) < 3:
        return ""
    models: dict[str, list[tuple[int, Run]]] = defaultdict(list)
    best: list[tuple[float, float]] = []
    for place, run in enumerate(runs, 1):
        models[run.content["model"]].append((place, run))
        if not best or board.worth(run.value) > board.worth(best[-1][1]):
            best.append((place, run.value))
    best.append((len(runs), best[-1][1]))
    series = [
        Series(model, [(p, r.value) for p, r in members], notes=[_note(board, r) for _, r in members])
        for model, members in models.items()
    ]
    title = f"Optimization history: {board.monitor} of the validation"
    series.append(Series("best", best, "steps"))
    return svg.chart(title, "runs in the order they finished", board.monitor, series, names=_models(board))


def _note(board: Leaderboard, run: Run) -> str:
    folder = escaped_line(str(run.folder))
    return f"{run.content['model']}, seed {run.content['seed']}: {board.monitor} {run.value:.5g}\n{folder}"


def importance(board: Leaderboard, runs: Sequence[Run]) -> list[tuple[str, float]]:
    """Options by the share of the variance of the runs' ranks that each explains alone (epsilon squared).

    Of an option that only some models have, the runs of those count.
    """
    found = []
    for key in dict.fromkeys(k for r in runs for k in r.settings):
        having = [r for r in runs if key in r.settings]
        if len({text(r.settings[key]) for r in having}) > 1:
            share = _explained(_groups([r.settings[key] for r in having]), [board.worth(r.value) for r in having])
            if share is not None:
                found.append((key.removesuffix(".name"), share))
    return sorted(found, key=lambda pair: -pair[1])


def _groups(values: Sequence[Any]) -> list[int]:
    """Equal values together; numbers of many values in bins of equal count."""
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values) and len(set(values)) > _BINS:
        edges = np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1])
        return [int(g) for g in np.searchsorted(edges, values, side="right")]
    kinds = list(dict.fromkeys(text(v) for v in values))
    return [kinds.index(text(v)) for v in values]


def _explained(groups: Sequence[int], values: Sequence[float]) -> float | None:
    """Epsilon squared: variance between groups beyond what chance gives them; None where there is too little."""
    ranks = np.argsort(np.argsort(values)).astype(np.float64)
    kinds = np.unique(groups)
    n, k = len(ranks), len(kinds)
    if k < 2 or n <= k + 1:
        return None
    within = sum(float(((part := ranks[np.asarray(groups) == g]) - part.mean()) @ (part - part.mean())) for g in kinds)
    total = float(((ranks - ranks.mean()) ** 2).sum())
    return max(0.0, (total - within - (k - 1) * within / (n - k)) / total)


def _parallel(board: Leaderboard, runs: Sequence[Run], names: Sequence[str]) -> str:
    shown = sorted(runs, key=lambda r: board.worth(r.value), reverse=True)[:_LINES]
    if len(shown) < 4 or not names:
        return ""
    options = [_shortened(r.settings) for r in shown]
    axes = []
    for name in names:
        values = [o.get(name) for o in options]
        if sum(name in o for o in options) * 4 >= len(options) and len({text(v) for v in values}) > 1:
            axes.append(_axis(name, values, [name in o for o in options]))
    axes = axes[:_AXES]
    worth = np.asarray([r.value if board.maximize else -r.value for r in shown])
    order = np.argsort(np.argsort(worth)) / max(1, len(worth) - 1)
    axes.append(_axis(board.monitor, [r.value for r in shown], [True] * len(shown)))
    title = f"Parallel coordinates, colored by rank of {board.monitor} (validation)"
    return svg.parallel(title, axes, [float(w) for w in order], [_note(board, r) for r in shown])


def _shortened(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {k.removesuffix(".name"): v for k, v in settings.items()}


def _axis(name: str, values: Sequence[Any], there: Sequence[bool]) -> Axis:
    """Numbers by size, logarithmically where they span much; other values side by side."""
    known = [v for v, t in zip(values, there, strict=True) if t]
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in known) and len(set(known)) > 1
    if numbers:
        low, high = min(known), max(known)
        log = low > 0 and high / low >= 30
        size = math.log(high / low) if log else high - low
        spots = [
            None if not t else (math.log(v / low) if log else v - low) / size
            for v, t in zip(values, there, strict=True)
        ]
        middle = math.sqrt(low * high) if log else (low + high) / 2
        return Axis(name, spots, [(0.0, svg.short(low)), (0.5, svg.short(middle)), (1.0, svg.short(high))])
    kinds = sorted({text(v) for v in known})
    step = 1 / max(1, len(kinds) - 1)
    spots = [None if not t else kinds.index(text(v)) * step for v, t in zip(values, there, strict=True)]
    return Axis(name, spots, [(i * step, kind[:14]) for i, kind in enumerate(kinds)])


def _curves(board: Leaderboard) -> str:
    """Validation by epoch, of the row of each model that is best on the validation."""
    best: dict[str, Row] = {}
    for row in board.own:
        best.setdefault(row.model, row)
    series = []
    for row in list(best.values())[:_CURVES]:
        points = _curve(row.runs[0], f"val/{board.monitor}")
        if len(points) > 1:
            series.append(Series(row.model, points, "line"))
    title = f"Learning curves: {board.monitor} of the validation, best row of each model"
    return svg.chart(title, "epoch", board.monitor, series, names=_models(board)) if series else ""


def _reliability(board: Leaderboard) -> str:
    """Mean label over mean probability, of the row of each model that is best on the validation: one of its runs."""
    best: dict[str, Row] = {}
    for row in board.own:
        best.setdefault(row.model, row)
    series = []
    for row in list(best.values())[:_CURVES]:
        if points := curve_of(row.runs[0]):
            notes = [f"{row.title}: {p:.4g} said, {y:.4g} seen, {n:,.0f} rows" for p, y, n in points]
            series.append(Series(row.model, [(p, y) for p, y, _ in points], "line", notes))
    if not series:
        return ""
    most = max(max(point) for one in series for point in one.points)
    series.append(Series("as said", [(0.0, 0.0), (most, most)], "guide"))
    title = "Reliability on the test: labels by what models say of them"
    return svg.chart(title, "mean probability", "mean label", series, names=_models(board))


def _curve(run: Run, column: str) -> list[tuple[float, float]]:
    try:
        lines = list(csv.DictReader(read_text(run.folder / "metrics.csv").splitlines()))
        points = {float(line["epoch"]): float(line[column]) for line in reversed(lines) if line.get(column)}
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return []
    # The best checkpoint is validated once more when training is over; that line comes under a later epoch.
    last = float(run.content.get("epochs") or math.inf)
    return sorted((e, v) for e, v in points.items() if e < last and abs(e) < LARGEST and abs(v) < LARGEST)


def _cost(board: Leaderboard, name: str, label: str, word: str) -> str:
    """Validation metric of each row against what it costs, and the front: rows that no cheaper one equals."""
    models: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for row in board.own:
        cost, value = row.cost(name), row.value
        if cost is not None and math.isfinite(value):
            models[row.model].append((cost, value, f"{row.title}: {value:.4f}, {svg.short(cost)} {label}"))
    if sum(map(len, models.values())) < 2:
        return ""
    series = [Series(m, [p[:2] for p in points], notes=[p[2] for p in points]) for m, points in models.items()]
    best = [(float(row.cost(name) or 0.0), row.value) for row in front(board, name)]
    if len(best) > 1:
        series.append(Series("front", [*best, (max(p[0] for ps in models.values() for p in ps), best[-1][1])], "steps"))
    title = f"Validation {board.monitor} and {word}"
    return svg.chart(title, label, board.monitor, series, log=True, names=_models(board))


def _sizes(board: Leaderboard) -> str:
    """Test metric by embedding size: of each size the row that is best on the validation."""
    series = []
    for model in _models(board):
        best: dict[int, Row] = {}
        for row in board.own:
            size = row.option("model.dim")
            if row.model == model and isinstance(size, int) and board.monitor in row.metrics:
                best.setdefault(size, row)
        if len(best) > 1:
            sizes = sorted(best)
            points = [(float(s), best[s].metrics[board.monitor][0]) for s in sizes]
            series.append(Series(model, points, "line", [best[s].title for s in sizes]))
    title = f"Embedding sizes: test {board.monitor}"
    sizes_seen = sorted({x for s in series for x, _ in s.points})
    ticks = sizes_seen if len(sizes_seen) <= 10 else None
    return svg.chart(title, "dim", board.monitor, series, log=True, ticks=ticks, names=_models(board)) if series else ""


def _models(board: Leaderboard) -> list[str]:
    return list(dict.fromkeys(row.model for row in board.own))
