"""One HTML file with everything in it: an overview, tables, plots, what did not finish.

Light or dark as the reader's system is, wide or narrow. Nothing is fetched. Columns sort by a click or a key; long
tables, and the leaderboards of a page, filter by a text. The page says the same without its script.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

from fmlab import __version__
from fmlab.config.overrides import override
from fmlab.report.evaluation_facts import SHARES, percent, protocol_of, shares_of, shown_metric
from fmlab.report.leaderboards import Leaderboard, Row
from fmlab.report.notes import judged_lines
from fmlab.report.overview import overview
from fmlab.report.page_style import SCRIPT, STYLE
from fmlab.report.plots import plots
from fmlab.report.runs import Run
from fmlab.report.summary import summary
from fmlab.report.tables import Result, TextTable, front_table, leaderboard, parts_of_the_test, printed_tables
from fmlab.terminal.escaping import escaped_line

_SHORT = 60  # characters of the options that tell a row from others; the rest is behind a click


def page(results: Sequence[Result], runs: Sequence[Run], remarks: Sequence[str]) -> str:
    """The page; `remarks` are what did not finish and what cannot be read."""
    done, leaderboards = (
        sum(r.complete for r in runs),
        "1 leaderboard" if len(results) == 1 else f"{len(results)} leaderboards",
    )
    parts = [
        f"<h1>fmlab report</h1><p class=note>{done} finished runs of {len(runs)}, {leaderboards}; "
        f"fmlab {__version__}, {time.strftime('%Y-%m-%d %H:%M')}</p>",
        _overview(results) if len(results) > 1 else "",
    ]
    for n, one in enumerate(results):
        parts.append(_section(one, n, summary(one, runs)))
    if remarks:
        parts.append(f"<h2>Not counted</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in remarks)}</ul>")
    view = '<meta name=viewport content="width=device-width, initial-scale=1">'
    head = f"<meta charset=utf-8>{view}<title>fmlab report</title><style>{STYLE}</style>"
    script = f"<script>{SCRIPT}</script>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}{script}</body></html>\n"


def _section(one: Result, n: int, told: Sequence[tuple[str, str]]) -> str:
    """A leaderboard with all that belongs to it; `told`: its summary."""
    board = one.board
    lines = "".join(f"<dt>{_safe(heading)}</dt><dd>{_safe(text)}</dd>" for heading, text in told)
    short = f"<h3>In short</h3><dl class=short>{lines}</dl>" if told else ""
    metrics = [shown_metric(board), *(m for m in board.metrics if m != shown_metric(board))]
    on_parts = [sheet for metric in metrics for sheet in parts_of_the_test(one, metric)]
    parts = [
        f'<h2 id="b{n}">{escape(escaped_line(board.title))}</h2>{short}',
        _judged(board),
        _leaderboard(one, _without_facts(leaderboard(one), board)),
        *(_table(sheet, "board") for sheet in on_parts[:1]),
    ]
    if len(on_parts) > 1:
        tables = "".join(_table(sheet, "board") for sheet in on_parts[1:])
        parts.append(f"<details><summary>the other metrics on parts of the test</summary>{tables}</details>")
    parts += [_table(sheet, "board") for sheet in front_table(board)]
    parts += [_printed(sheet) for sheet in printed_tables(one)]
    parts.append(f"<div class=plots>{''.join(f'<figure>{p}</figure>' for p in plots(board))}</div>")
    return f"<section class=of-board>{''.join(parts)}</section>"


def _without_facts(sheet: TextTable, board: Leaderboard) -> TextTable:
    """The table without the notes that stand above it already."""
    above = set(map(escaped_line, judged_lines(board)))
    return replace(sheet, notes=tuple(note for note in sheet.notes if note not in above))


def _judged(board: Leaderboard) -> str:
    """The protocol in words, and bars for what of the test stands in training."""
    told = {**protocol_of(board), "data fingerprint": board.fingerprint[:16]}
    words = "".join(f"<dt>{_safe(name)}</dt><dd>{_safe(text)}</dd>" for name, text in told.items())
    bars = "".join(
        f'<li><span class=share style="background-size:{100 * share:.1f}% 100%">{percent(share)}</span>'
        f"<span>{_safe(SHARES[name])}</span></li>"
        for name, share in shares_of(board).items()
    )
    shares = f"<div><h3>Of the test rows</h3><ul class=shares>{bars}</ul></div>" if bars else ""
    return f"<div class=judged><div><h3>How it was judged</h3><dl>{words}</dl></div>{shares}</div>"


def _safe(text: str) -> str:
    return escape(escaped_line(text))


def _overview(results: Sequence[Result]) -> str:
    sheet = overview(results)
    rows = []
    for n, row in enumerate(sheet.rows):
        cells = [f'<a href="#b{n}">{escape(row[0])}</a>', *map(escape, row[1:])]
        named = zip(cells, sheet.head, strict=True)
        rows.append("".join(f'<td class=w data-name="{escape(name)}">{cell}</td>' for cell, name in named))
    head = "".join(f"<th class=w>{escape(name)}</th>" for name in sheet.head)
    lines = "".join(f"<tr>{row}</tr>" for row in rows)
    table = f"<table class=overview><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="wide summary">{table}</div>'


def _leaderboard(one: Result, sheet: TextTable) -> str:
    """Short names, with the options of a row behind a click; a bar behind each figure of a metric."""
    longest = _longest(sheet, set(one.board.metrics) | {f"validation {one.board.monitor}"})
    rows = []
    for row, cells in zip(one.board.rows, sheet.rows, strict=True):
        first = f"<td class=w>{_name(row, cells[0])}</td>"
        others = [_number_cell(text, longest.get(at)) for at, text in enumerate(cells) if at]
        best = " class=best" if one.board.own and row is one.board.own[0] else ""
        rows.append(f"<tr{best}>{first}{''.join(others)}</tr>")
    return _framed(sheet, _head(sheet), "".join(rows), "board")


def _name(row: Row, title: str) -> str:
    if not row.runs:
        return escape(title)
    told = escaped_line(row.label)
    short = told if len(told) <= _SHORT else f"{told[: _SHORT - 1]}…"
    mark = title.removeprefix(escaped_line(row.title))
    seeds = f"{'seed' if len(row.seeds) == 1 else 'seeds'} {', '.join(map(str, row.seeds))}"
    folds = [f"folds {', '.join(map(str, row.folds))}"] if len(row.folds) > 1 else []
    lines = [seeds, *folds, *(override(k.removesuffix(".name"), v) for k, v in _options(row).items())]
    options = "<br/>".join(map(_safe, lines))
    summary = f"{escape(row.model)}{escape(mark)} <span class=told>{escape(short)}</span>"
    return f"<details><summary>{summary}</summary><div class=options>{options}</div></details>"


def _options(row: Row) -> Mapping[str, object]:
    return dict(sorted(row.runs[0].settings.items()))


def _longest(sheet: TextTable, names: set[str]) -> dict[int, float]:
    """The largest figure of each column of a metric, where all are above 0."""
    found = {}
    for at, name in enumerate(sheet.head):
        values = [v for row in sheet.rows if (v := _number(row[at])) is not None] if name in names else []
        if values and min(values) >= 0 and max(values) > 0:
            found[at] = max(values)
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text.split(" ")[0])
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _number_cell(text: str, longest: float | None) -> str:
    value = _number(text)
    if longest is None or value is None:
        return f"<td class=n>{escape(text)}</td>"
    return f'<td class="n b" style="background-size:{100 * value / longest:.0f}% 100%">{escape(text)}</td>'


def _table(sheet: TextTable, kind: str) -> str:
    are_numbers = _are_numbers(sheet)
    rows = "".join(
        f"<tr>{''.join(_cell('td', text, is_number) for text, is_number in zip(row, are_numbers, strict=True))}</tr>"
        for row in sheet.rows
    )
    return _framed(sheet, _head(sheet), rows, kind)


def _printed(sheet: TextTable) -> str:
    framed = _table(sheet, "printed")
    if any(row[-1] for row in sheet.rows):
        return framed
    title = escape(sheet.title.rpartition(": ")[2].partition(",")[0])
    return f"<details><summary>{title}: none of its models was run here</summary>{framed}</details>"


def _are_numbers(sheet: TextTable) -> list[bool]:
    return [place >= sheet.words and name != "our row" for place, name in enumerate(sheet.head)]


def _head(sheet: TextTable) -> str:
    return "".join(
        _cell("th", text, is_number) for text, is_number in zip(sheet.head, _are_numbers(sheet), strict=True)
    )


def _framed(sheet: TextTable, head: str, rows: str, kind: str) -> str:
    notes = "".join(f"<p class=note>{escape(n)}</p>" for n in sheet.notes)
    table = f"<table class={kind}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<h3>{escape(sheet.title.rpartition(': ')[2])}</h3><div class=wide>{table}</div>{notes}"


def _cell(tag: str, text: str, is_number: bool) -> str:
    kind = "n" if is_number else "w"
    return f"<{tag} class={kind}>{escape(text)}</{tag}>"
