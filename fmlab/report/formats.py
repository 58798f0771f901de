"""Tables of a report as text: Markdown, LaTeX, comma-separated values."""

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

from fmlab.report.evaluation_facts import groups_of, on_group
from fmlab.report.leaderboards import KNOWN_BEST, Row
from fmlab.report.tables import Result, TextTable


def markdown(shown: Sequence[TextTable]) -> str:
    """Markdown tables under headings."""
    parts = []
    for sheet in shown:
        marks = ["---" if i < sheet.words else "--:" for i in range(len(sheet.head))]
        lines = ["| " + " | ".join(map(_quoted, row)) + " |" for row in (sheet.head, marks, *sheet.rows)]
        notes = map(_quoted, sheet.notes)
        parts.append("\n".join([f"### {_quoted(sheet.title)}", "", *lines, *([""] if sheet.notes else []), *notes]))
    return "\n\n".join(parts) + "\n"


def _quoted(text: str) -> str:
    """Foreign text in Markdown: no cell ends, no tag and no link begins."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text.replace("|", "\\|")).replace("](", "]\\(")


_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
_LATEX |= {"\\": r"\textbackslash{}", "<": "$<$"}


def latex(shown: Sequence[TextTable]) -> str:
    """LaTeX tables for the package booktabs."""
    parts = []
    for sheet in shown:
        columns = "l" * sheet.words + "r" * (len(sheet.head) - sheet.words)
        lines = [" & ".join(map(_escaped, sheet.head)) + r" \\"]
        best = (
            next((at for at, row in enumerate(sheet.rows) if row[0] != KNOWN_BEST), None) if sheet.words == 1 else None
        )
        for at, row in enumerate(sheet.rows):
            cells = [rf"\textbf{{{_escaped(c)}}}" if at == best and c else _escaped(c) for c in row]
            lines.append(" & ".join(cells) + r" \\")
        notes = " ".join(_escaped(n) + "." for n in sheet.notes)
        parts.append(
            "\n".join(
                (
                    r"\begin{table}",
                    rf"\caption{{{_escaped(sheet.title)}. {notes}}}",
                    rf"\label{{tab:{_label(sheet.title)}}}",
                    rf"\begin{{tabular}}{{{columns}}}",
                    r"\toprule",
                    lines[0],
                    r"\midrule",
                    *lines[1:],
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{table}",
                )
            )
        )
    return "\n\n".join(parts) + "\n"


def _label(title: str) -> str:
    """Letters, digits and hyphens of a title, for `\\ref`."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in text)


_COLUMNS = (
    *("data", "fingerprint", "protocol", "board", "model", "settings", "loss", "optimizer"),
    *(
        "metric",
        "mean",
        "deviation",
        "rows",
        "monitor",
        "validation",
        "seeds",
        "parameters",
        "seconds",
        "rows_per_second",
    ),
    *("best_difference", "best_low", "best_high", "best_p"),
    *("baseline", "baseline_difference", "baseline_low", "baseline_high", "baseline_p"),
    *("warnings", "source"),
)


def as_csv(found: Sequence[Result]) -> str:
    """Comma-separated values: one line for each metric of each row, and for each printed figure."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for one in found:
        board = one.board
        place = {"data": board.data, "fingerprint": board.fingerprint, "protocol": board.protocol, "board": board.label}
        own = {id(row): i for i, row in enumerate(board.own)}
        for row in board.rows:
            for name, (mean, deviation) in row.metrics.items():
                cells = {"metric": name, "mean": mean, "deviation": deviation, **_row_cells(row)}
                cells |= {"monitor": board.monitor} if row.runs else {}
                writer.writerow(_filled({**place, **cells, **_test_cells(one, own.get(id(row)), name)}))
        for row in board.own:
            for group, rows in groups_of(board).items():
                for name in row.metrics:
                    if (value := on_group(row, group, name)) is not None:
                        cells = {"metric": f"{name} on {group}", "mean": value[0], "deviation": value[1]}
                        writer.writerow(_filled({**place, **cells, **_row_cells(row), "rows": rows}))
        for paper in one.printed:
            for name, text in paper.values.items():
                cells = {"model": paper.model, "metric": name, "mean": text, "source": paper.source}
                writer.writerow(_filled({**place, **cells}))
    return out.getvalue()


def _row_cells(row: Row) -> dict[str, Any]:
    costs = {k: row.cost(n) for k, n in (("seconds", "seconds_fit"), ("rows_per_second", "rows_per_second"))}
    parameters = row.cost("parameters")
    return {
        "model": row.model,
        "settings": row.label,
        "loss": row.option("loss.name"),
        "optimizer": row.option("optimizer.name"),
        "validation": row.value if row.runs else None,
        "seeds": len(row.seeds),
        "parameters": None if parameters is None else round(parameters),
        "warnings": "; ".join(row.warnings),
        "source": KNOWN_BEST if row.model == KNOWN_BEST else "run",
        **costs,
    }


def _test_cells(one: Result, place: int | None, metric: str) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for compared in one.tests:
        test = compared.found.get(-1 if place is None else place)
        if test is not None and compared.metric == metric:
            kind = "best" if compared.reference is one.board.own[0] else "baseline"
            cells |= {"baseline": compared.reference.title} if kind == "baseline" else {}
            cells |= {f"{kind}_{name}": value for name, value in test._asdict().items()}
    return cells


def _filled(cells: dict[str, Any]) -> dict[str, Any]:
    return {k: "" if v is None else as_text(v) for k, v in cells.items()}


def as_text(value: Any) -> Any:
    """A cell that a spreadsheet does not calculate: a text that begins as a formula does gets an apostrophe."""
    if not isinstance(value, str) or not value.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
