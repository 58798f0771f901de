"""`fmlab report`: leaderboards in the terminal, as text for papers, as one HTML page."""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from fmlab.errors import FmlabError
from fmlab.files import write_text
from fmlab.report import tables
from fmlab.report.comparisons import refuse_unknown
from fmlab.report.formats import as_csv, latex, markdown
from fmlab.report.leaderboards import Leaderboard, best_of_each, leaderboards
from fmlab.report.runs import Run, Unreadable, find_runs
from fmlab.report.terminal import print_tables
from fmlab.terminal.console import Console
from fmlab.terminal.escaping import escaped_line

_PANELS = 6  # options of a board that a dashboard shows
_SAID = 20  # runs that did not finish, each named


def remarks(runs: Sequence[Run], unreadable: Sequence[Unreadable]) -> list[str]:
    """What did not finish, and what cannot be read."""
    counts = Counter(str(r.content["status"]) for r in runs if not r.complete)
    lines = [f"{n} {status}" for status, n in sorted(counts.items()) if status in ("pruned", "lost", "refused")]
    said = [r for r in runs if r.content["status"] not in ("complete", "pruned", "lost", "refused")]
    for run in said[:_SAID]:
        error = " ".join(str(run.content.get("error", "")).split())
        lines.append(f"{run.content['status']}: {run.folder}  {error:.300}".rstrip())
    if len(said) > _SAID:
        lines.append(f"and {len(said) - _SAID} more that did not finish")
    return [escaped_line(line) for line in (*lines, *(f"unreadable: {u.path}: {u.why}" for u in unreadable))]


def main(arguments: list[str], environment: Mapping[str, str] = MappingProxyType({})) -> int:
    """`fmlab report [folders] [--baseline MODEL] [--best] [--table FILE] [--csv | --markdown | --latex | --html FILE]`.

    Raises FmlabError. `environment`: as for every command; nothing here depends on it.
    """
    options = _parser().parse_args(arguments)
    read = [find_runs(folder) for folder in dict.fromkeys(options.folder)]
    runs, unreadable = [r for good, _ in read for r in good], [u for _, bad in read for u in bad]
    if not runs and not unreadable:
        places = ", ".join(map(str, options.folder))
        raise FmlabError(f"no run was found below {places}: a run leaves a metrics.json")
    found = [best_of_each(b) for b in leaderboards(runs)] if options.best else leaderboards(runs)
    if options.baseline:
        refuse_unknown(found, options.baseline)
    results = [tables.result(board, options.baseline) for board in found]
    said = remarks(runs, unreadable)
    console = Console(stderr=bool(options.csv or options.markdown or options.latex))
    shown = [sheet for one in results for sheet in tables.sheets(one)]
    if options.table:
        from fmlab.report.export import write_table

        write_table(options.table, runs)
    if options.html:
        from fmlab.report.html import page

        write_text(options.html, page(results, runs, said))
    if options.wandb:
        _send(options, shown, found)
    if options.html:
        console.print(str(options.html), markup=False, highlight=False, soft_wrap=True)
        return 0
    if options.csv or options.markdown or options.latex:
        text = as_csv(results) if options.csv else (markdown if options.markdown else latex)(shown)
        print(text, end="")
    else:
        print_tables(shown)
    for line in said:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def _send(options: argparse.Namespace, shown: Sequence[tables.TextTable], found: Sequence[Leaderboard]) -> None:
    """Tables, files that were written, and the dashboard of these leaderboards to Weights & Biases."""
    from fmlab.plugin import registry
    from fmlab.report.plots import importance

    searched = [name for b in found for name, _ in importance(b, [r for row in b.own for r in row.runs])[:_PANELS]]
    registry.load("logger", "wandb").send_report(
        {sheet.title: (sheet.head, sheet.rows) for sheet in shown},
        options.wandb,
        options.folder[0],
        files=[path for path in (options.html, options.table) if path],
        metrics={board.monitor: board.metrics for board in found},
        options=list(dict.fromkeys(searched)),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fmlab report",
        description="Leaderboards of finished runs: a board for each data set and protocol, a row for each "
        "configuration, best on the validation first, with means over seeds and tests against the best.",
    )
    parser.add_argument("folder", nargs="*", default=[Path("runs")], type=Path, help="folders of runs (default: runs)")
    parser.add_argument("--baseline", metavar="MODEL", help="test each row against the best row of this model as well")
    parser.add_argument("--best", action="store_true", help="only the best row of each model, by the validation")
    parser.add_argument(
        "--wandb",
        metavar="PROJECT",
        help="tables to Weights & Biases as well, with the files of --html and --table; offline without a login",
    )
    parser.add_argument(
        "--table", metavar="FILE", type=Path, help="one table of all runs as well: runs.parquet or runs.sqlite"
    )
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--csv", action="store_true", help="print comma-separated values, one line for each metric")
    ways.add_argument("--markdown", action="store_true", help="print Markdown tables")
    ways.add_argument("--latex", action="store_true", help="print LaTeX tables (package booktabs)")
    ways.add_argument("--html", metavar="FILE", type=Path, help="write one page with tables and plots")
    return parser
