"""One line for each leaderboard: the best model, what papers print, and a sentence that says what was shown."""

from collections.abc import Sequence

from fmlab.errors import FmlabError
from fmlab.plugin import registry
from fmlab.report.evaluation_facts import shown_metric
from fmlab.report.leaderboards import Leaderboard, MetricValue, Row
from fmlab.report.notes import SIGNIFICANT
from fmlab.report.tables import Result, TextTable, format_value

BASELINES = "baselines"  # the family of models that a table has for comparison, as their docstrings say


def overview(results: Sequence[Result]) -> TextTable:
    """Each leaderboard with its best row by the validation, test figures of the metric that selected, and a verdict."""
    head = ("leaderboard", "best by validation", "metric", "test", "simple baseline", "paper's best", "verdict")
    return TextTable("Overview", head, tuple(_line(one) for one in results), len(head))


def _line(one: Result) -> tuple[str, ...]:
    board, metric = one.board, shown_metric(one.board)
    if not board.own:
        return board.title, "", metric, "", "", "", "no finished run"
    best = board.own[0]
    simple = baseline_row(board, board.own[1:])
    paper = papers_best(one, metric)
    cells = [
        mean_label(best, metric) if simple is None else f"{format_value(simple.metrics.get(metric))} {simple.model}"
    ]
    cells.append("" if paper is None else f"{paper[0]:g} {paper[1]}")
    return board.title, best.model, metric, format_value(best.metrics.get(metric)), *cells, verdict(one)


def baseline_row(board: Leaderboard, rows: Sequence[Row] | None = None) -> Row | None:
    """The best row of a simple baseline by the validation, of all rows or of these; None without one."""
    return next((row for row in (board.own if rows is None else rows) if _is_baseline(row.model)), None)


def mean_label(row: Row, metric: str) -> str:
    """The figure of one prediction for all rows, as a run that scores labeled rows records it; else empty."""
    kept = [r.content["constant"] for r in row.runs if isinstance(r.content.get("constant"), dict)]
    value = kept[0].get(metric) if kept else None
    return f"{value:.4g} mean label of training" if isinstance(value, int | float) else ""


def _is_baseline(model: str) -> bool:
    try:
        return registry.schema("model", model).family == BASELINES
    except FmlabError:  # a run of a plugin that is not installed here
        return False


def papers_best(one: Result, metric: str) -> tuple[float, str] | None:
    """The best figure that papers print for this board, with the name of its model and its source."""
    found = []
    for row in one.printed:
        try:
            found.append((float(row.values.get(metric, "")), f"{row.model} ({row.source})"))
        except ValueError:
            continue
    return max(found, key=lambda f: one.board.worth(f[0]), default=None)


def verdict(one: Result) -> str:
    """Whether the best row is shown to be ahead of the next model, and where it stands beside print."""
    board, metric = one.board, shown_metric(one.board)
    best = board.own[0]
    other = next((row for row in board.own if row.model != best.model), None)
    said = [_ahead(one, best, other)] if other is not None else ["one model, nothing to compare with"]
    paper, ours = papers_best(one, metric), best.metrics.get(metric)
    if paper is not None and ours is not None:
        said.append(_beside_print(board, ours, paper[0]))
    return "; ".join(said)


def _ahead(one: Result, best: Row, other: Row) -> str:
    if one.board.cut:
        return "trials that their sweep's time ended are not compared"
    place = next(at for at, row in enumerate(one.board.own) if row is other)
    test = next((c.found[place] for c in one.tests if c.reference is best and place in c.found), None)
    if test is None:
        return f"not tested against {other.model}"
    if test.p is None:
        return f"{other.model} is next; with one seed no difference can be shown"
    if test.p < SIGNIFICANT:
        first, second = (best, other) if _is_better(one.board, best, other) else (other, best)
        return f"on the test {first.model} is ahead of {second.model} by more than seeds and cases explain"
    return f"no difference from {other.model} is shown"


def _is_better(board: Leaderboard, row: Row, other: Row) -> bool:
    metric = shown_metric(board)
    ours, theirs = row.metrics.get(metric), other.metrics.get(metric)
    return ours is None or theirs is None or board.worth(ours[0]) >= board.worth(theirs[0])


def _beside_print(board: Leaderboard, ours: MetricValue, printed: float) -> str:
    gap = ours[0] - printed
    if gap == 0:
        return "equal to print"
    return f"{abs(gap):.4f} {'better' if (gap > 0) == board.maximize else 'worse'} than the paper's best"
