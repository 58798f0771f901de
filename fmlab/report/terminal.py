"""Leaderboards on a terminal."""

from collections.abc import Iterable
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from fmlab.report import tables
from fmlab.report.leaderboards import best_of_each, leaderboards
from fmlab.report.runs import find_runs
from fmlab.terminal.console import Console

_WIDTH = 200  # where there is no terminal


def print_leaderboards(folder: Path, *, best: bool = False) -> None:
    """The leaderboards of a folder; `best`: with the best row of each model, by the validation."""
    for board in leaderboards(find_runs(folder)[0]):
        print_tables(tables.sheets(tables.result(best_of_each(board) if best else board)))


def print_tables(shown: Iterable[tables.TextTable]) -> None:
    """Tables on the terminal, without the columns that it has no room for."""
    console = Console()
    width = console.width if console.is_terminal else _WIDTH
    wide = Console(width=width)
    for sheet in shown:
        wide.print(_table(tables.fitting(sheet, width)))


def _table(sheet: tables.TextTable) -> Table:
    shown = Table(title=escape(sheet.title), title_justify="left", caption_justify="left")
    shown.caption = escape("\n".join(sheet.notes)) or None
    for place, name in enumerate(sheet.head):
        if place < sheet.words:
            shown.add_column(escape(name), overflow="fold", min_width=tables.LEAST_WIDE)
        else:
            shown.add_column(escape(name), justify="right", no_wrap=name != "our row", overflow="fold")
    for row in sheet.rows:
        shown.add_row(*map(escape, row))
    return shown
