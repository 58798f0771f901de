"""One HTML file with everything in it: tables, plots, what did not finish; light or dark as the reader's system is.

No script, nothing fetched.
"""

import time
from collections.abc import Sequence
from html import escape

from fmlab import __version__
from fmlab.report.plots import plots
from fmlab.report.runs import Run
from fmlab.report.tables import Result, TextTable, sheets

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2330; --soft: #596275; --rule: #e3e6ee; --head: #eef1f6 }
:root { --hover: #f6f8fc; --grid: #edf0f5; --axis: #8992a3 }
@media (prefers-color-scheme: dark) {
  :root { --paper: #171b24; --ink: #dfe4ee; --soft: #9aa5b8; --rule: #323a49; --head: #232a37; --hover: #1e2430 }
  :root { --grid: #262d3a; --axis: #707b8e }
}
body { font: 14px/1.45 system-ui, sans-serif; margin: 24px auto; max-width: 1500px; padding: 0 16px }
body { color: var(--ink); background: var(--paper) } h1 { font-size: 22px }
h2 { font-size: 17px; margin-top: 36px; border-bottom: 1px solid var(--rule); overflow-wrap: anywhere }
h3 { font-size: 14px } .wide { overflow-x: auto; max-height: 720px; overflow-y: auto } nav li { margin: 2px 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th { position: sticky; top: 0; background: var(--head); text-align: left }
th, td { padding: 3px 10px; border-bottom: 1px solid var(--rule); white-space: nowrap } td.n, th.n { text-align: right }
td.w { white-space: normal; min-width: 180px } tr:hover td { background: var(--hover) }
.note { color: var(--soft); font-size: 12.5px } figure { margin: 0 }
.plots { display: flex; flex-wrap: wrap; gap: 18px }
svg { max-width: 100%; height: auto; background: var(--paper); border: 1px solid var(--rule); border-radius: 4px }
svg text { font: 11px system-ui, sans-serif; fill: var(--ink) }
svg .grid { stroke: var(--grid) } svg .axis { stroke: var(--axis) }
svg .halo { paint-order: stroke; stroke: var(--paper); stroke-width: 3px }
"""


def page(results: Sequence[Result], runs: Sequence[Run], remarks: Sequence[str]) -> str:
    """The page; `remarks` are what did not finish and what cannot be read."""
    done = sum(r.complete for r in runs)
    links = "".join(f'<li><a href="#b{n}">{escape(r.board.title)}</a></li>' for n, r in enumerate(results))
    parts = [
        f"<h1>fmlab report</h1><p class=note>{done} finished runs of {len(runs)}, {len(results)} leaderboards; "
        f"fmlab {__version__}, {time.strftime('%Y-%m-%d %H:%M')}</p>",
        f"<nav><ul>{links}</ul></nav>" if len(results) > 1 else "",
    ]
    for n, one in enumerate(results):
        parts.append(f'<h2 id="b{n}">{escape(one.board.title)}</h2>')
        parts.append(f"<p class=note>data fingerprint {escape(one.board.fingerprint[:16])}</p>")
        parts += [_sheet(s) for s in sheets(one)]
        parts.append(f"<div class=plots>{''.join(f'<figure>{p}</figure>' for p in plots(one.board))}</div>")
    if remarks:
        parts.append(f"<h2>Not counted</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in remarks)}</ul>")
    head = f"<meta charset=utf-8><title>fmlab report</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _sheet(sheet: TextTable) -> str:
    figures = [place >= sheet.words and name != "our row" for place, name in enumerate(sheet.head)]
    head = "".join(_cell("th", text, is_figure) for text, is_figure in zip(sheet.head, figures, strict=True))
    rows = "".join(
        f"<tr>{''.join(_cell('td', text, is_figure) for text, is_figure in zip(row, figures, strict=True))}</tr>"
        for row in sheet.rows
    )
    notes = "".join(f"<p class=note>{escape(n)}</p>" for n in sheet.notes)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<h3>{escape(sheet.title.rpartition(': ')[2])}</h3><div class=wide>{table}</div>{notes}"


def _cell(tag: str, text: str, is_figure: bool) -> str:
    kind = "n" if is_figure else "w"
    return f"<{tag} class={kind}>{escape(text)}</{tag}>"
