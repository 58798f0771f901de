"""Leaderboards as tables of text, whatever shows them."""

import math
from dataclasses import dataclass, field, replace

from fmlab.report import evaluation_facts
from fmlab.report.comparisons import Comparisons, against, baseline
from fmlab.report.front import FRONTS, front
from fmlab.report.leaderboards import COUNTS, Leaderboard, MetricValue, Row
from fmlab.report.notes import SIGNIFICANT, WARNED, notes
from fmlab.report.published import PublishedRow, printed
from fmlab.report.significance import Comparison
from fmlab.terminal.escaping import escaped_line


@dataclass(frozen=True)
class TextTable:
    """A table of text: the first `words` columns are words, the others figures; `notes` stand below."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Escape control characters: names of folders, models and options may be foreign."""
        object.__setattr__(self, "title", escaped_line(self.title))
        for name in ("head", "notes"):
            object.__setattr__(self, name, tuple(map(escaped_line, getattr(self, name))))
        object.__setattr__(self, "rows", tuple(tuple(map(escaped_line, row)) for row in self.rows))


LEAST_WIDE = 12  # characters of a column of words, which may fold
_FOLDS = 48  # a longer text of words folds before a column of figures is left out
INTERVAL = "95% interval"
LEAST_NEEDED = ("rows/s", "p", INTERVAL, "seconds", "parameters", "seeds", "folds")


def fitting(sheet: TextTable, width: int) -> TextTable:
    """The sheet without the columns least needed that a terminal of `width` characters has no room for."""
    dropped = []
    for name in LEAST_NEEDED:
        columns = zip(sheet.head, *sheet.rows, strict=True)
        widths = [
            max(map(len, c)) if at >= sheet.words else min(_FOLDS, max(LEAST_WIDE, *map(len, c)))
            for at, c in enumerate(columns)
        ]
        if 1 + sum(3 + w for w in widths) <= width:
            break
        if name in sheet.head:
            at = sheet.head.index(name)
            rows = tuple((*r[:at], *r[at + 1 :]) for r in sheet.rows)
            sheet = replace(sheet, head=(*sheet.head[:at], *sheet.head[at + 1 :]), rows=rows)
            dropped.append(name)
    if dropped:
        note = f"not shown in {width} characters: {', '.join(dropped)}"
        sheet = replace(sheet, notes=(*sheet.notes, note))
    return sheet


@dataclass(frozen=True)
class Result:
    """A leaderboard with its tests and with what papers print."""

    board: Leaderboard
    tests: tuple[Comparisons, ...]
    printed: tuple[PublishedRow, ...]


def result(board: Leaderboard, model: str | None = None) -> Result:
    """Each row beside the best by the validation, and beside the best row of a baseline model."""
    own = board.own
    if board.cut:
        return Result(board, (), ())
    references = own[:1] if len(own) > 1 else []
    row = baseline(board, model) if model else None
    if row is not None and row is not own[0]:
        references = [*references, row]
    tests = against(board, references) if references else []
    return Result(board, tuple(tests), tuple(printed(board)))


def sheets(found: Result) -> list[TextTable]:
    """The leaderboard, figures on parts of the test, and tables of papers with the printed figures beside ours."""
    return [leaderboard(found), *parts_of_the_test(found), *front_table(found.board), *printed_tables(found)]


def front_table(board: Leaderboard) -> list[TextTable]:
    """Rows that are on a front of the validation metric and a cost, cheap ones first; none where one row is all."""
    fronts = {name: front(board, name) for name in FRONTS}
    kept = [row for row in board.own if any(row is one for rows in fronts.values() for one in rows)]
    if len(kept) < 2:
        return []
    kept.sort(key=lambda row: row.cost("parameters") or 0.0)
    rows, searched = [], any(row.trial for row in kept)
    for row in kept:
        on = [FRONTS[name] for name, rows_of in fronts.items() if any(row is one for one in rows_of)]
        costs = (whole(row.cost("parameters")), whole(row.cost("bytes")), _microseconds(row))
        trial = (row.trial,) if searched else ()
        rows.append((_title(row), *trial, ", ".join(on), format_value(row.validation), *costs))
    head = (
        "model",
        *(["trial"] if searched else []),
        "on the front of",
        f"validation {board.monitor}",
        "parameters",
        "bytes",
        "us a row",
    )
    said = f"no row that costs less has a better validation {board.monitor}; us: microseconds of one core"
    again = "fmlab sweep refit FOLDER TRIAL trains a point again" if searched else ""
    title = f"{board.title}: what a better validation {board.monitor} costs"
    return [TextTable(title, head, tuple(rows), 2 + searched, tuple(filter(None, (said, again))))]


def _microseconds(row: Row) -> str:
    value = row.cost("microseconds_per_row")
    return "" if value is None else f"{value:.3g}"


def leaderboard(found: Result) -> TextTable:
    """A line for each row of the board, with its tests and costs."""
    board, metrics = found.board, found.board.metrics
    head = ["model", f"validation {board.monitor}", *metrics]
    tests = [c for c in found.tests if c.found]
    chances = any(test.p is not None for c in tests for test in c.found.values())
    for compared in tests:
        head += [f"{compared.metric} vs {_short(found, compared)}", INTERVAL, *(["p"] if chances else [])]
    costs = ("parameters", "seconds", "rows/s")
    repeated = [n for n in ("seeds", "folds") if any(len(getattr(row, n)) > 1 for row in board.own)]
    head += [*repeated, *costs]
    places = {id(row): place for place, row in enumerate(board.own)}
    rows = []
    for row in board.rows:
        cells = [_title(row), format_value(row.validation), *(format_value(row.metrics.get(m)) for m in metrics)]
        for compared in tests:
            cells += _test(compared.found.get(places.get(id(row), -1)))[: 3 if chances else 2]
        rows.append(tuple([*cells, *(str(len(getattr(row, n)) or "") for n in repeated), *_costs(row)]))
    title = f"{board.title}: test, sorted by validation {board.monitor}"
    return TextTable(title, tuple(head), tuple(rows), 1, notes(board, found.tests))


def parts_of_the_test(found: Result, metric: str = "") -> list[TextTable]:
    """Figures on parts of the test rows and of calibration, of one metric, which selects unless it is named; none where
    no run holds any."""
    board, metric = found.board, metric or evaluation_facts.shown_metric(found.board)
    groups = {
        n: rows
        for n, rows in evaluation_facts.groups_of(board).items()
        if any(evaluation_facts.on_group(r, n, metric) for r in board.own)
    }
    extra = [n for n in evaluation_facts.CALIBRATION if any(evaluation_facts.calibration_of(r, n) for r in board.own)]
    if not groups and not extra:
        return []
    head = ("model", f"{metric}, all rows", *(f"{n} ({rows:,})" for n, rows in groups.items()), *extra)
    rows = []
    for row in board.own:
        cells = [
            format_value(row.metrics.get(metric)),
            *(format_value(evaluation_facts.on_group(row, n, metric)) for n in groups),
        ]
        rows.append((_title(row), *cells, *(format_value(evaluation_facts.calibration_of(row, n)) for n in extra)))
    said = [f"{name}: {evaluation_facts.CALIBRATION[name]}" for name in extra]
    title = (
        f"{board.title}: test {metric} on parts of the test, and calibration"
        if extra
        else (f"{board.title}: test {metric} on parts of the test")
    )
    return [TextTable(title, head, tuple(rows), 1, tuple(["; ".join(said)] if said else ()))]


def printed_tables(found: Result) -> list[TextTable]:
    """Each table of a paper with the printed figures beside ours."""
    return [_printed(found, source) for source in dict.fromkeys(p.source for p in found.printed)]


def _title(row: Row) -> str:
    return f"{row.title}  {WARNED}" if row.warnings else row.title


def _short(found: Result, compared: Comparisons) -> str:
    return "best" if compared.reference is found.board.own[0] else compared.reference.model


def _printed(found: Result, source: str) -> TextTable:
    """One table of a paper: a column for each printed figure and one for ours beside it, test metrics first."""
    printed = [p for p in found.printed if p.source == source]
    known = dict.fromkeys((*found.board.metrics, *(m for p in printed for m in p.values)))
    names = [m for m in known if any(m in p.values for p in printed)]
    rows = []
    for one in printed:
        cells = [one.values.get(name, "") for name in names]
        ours = [_ours(one, name) for name in names]
        pairs = [cell for both in zip(cells, ours, strict=True) for cell in both]
        rows.append((one.source, one.model, *pairs, "" if one.ours is None else one.ours.title))
    head = ("published", "model", *(h for name in names for h in (name, "ours")), "our row")
    notes = tuple(dict.fromkeys(f"{p.source} {p.model}: {p.note}" for p in printed if p.note))
    return TextTable(
        f"{found.board.title}: printed in {source}, beside our best by validation", head, tuple(rows), 2, notes
    )


def _ours(one: PublishedRow, name: str) -> str:
    value = None if one.ours is None or name not in one.values else one.ours.published_counterpart(name)
    if value is None:
        return ""
    if name == "seconds_per_epoch":
        return f"{value[0]:.1f}"
    return whole(value[0]) if name in COUNTS else format_value(value)


def format_value(value: MetricValue | None) -> str:
    """Mean and deviation with four significant digits of the mean, and at least four decimals below 10."""
    if value is None:
        return ""
    mean, deviation = value
    places = 4
    if math.isfinite(mean) and mean != 0:
        places = min(6, max(4, 3 - math.floor(math.log10(abs(mean))))) if abs(mean) < 10 else 2
    return f"{mean:.{places}f}" if deviation is None else f"{mean:.{places}f} ± {deviation:.{places}f}"


def whole(value: float | None) -> str:
    """A count with thousands marked."""
    return "" if value is None else f"{value:,.0f}"


def _costs(row: Row) -> tuple[str, str, str]:
    seconds = row.cost("seconds_fit")
    return (
        whole(row.cost("parameters")),
        "" if seconds is None else f"{seconds:.1f}",
        whole(row.cost("rows_per_second")),
    )


def _test(test: Comparison | None) -> list[str]:
    if test is None:
        return ["", "", ""]
    mark = "*" if test.p is not None and test.p < SIGNIFICANT else ""
    interval = f"{test.low:+.4f} to {test.high:+.4f}"
    return [f"{test.difference:+.4f}{mark}", interval, "" if test.p is None else _p(test.p)]


def _p(value: float) -> str:
    return "<.0001" if value < 1e-4 else f"{value:.4f}".lstrip("0") if value < 1 else "1"
