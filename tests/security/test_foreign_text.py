"""Names that others chose: on a terminal, in a log, in reports for spreadsheets and papers."""

import csv
import io
import logging

import pytest

from fmlab.config.folders import leaves
from fmlab.report.formats import as_text, latex, markdown
from fmlab.report.tables import TextTable
from fmlab.terminal.console import Console
from fmlab.terminal.escaping import SafeRecord, escaped, escaped_line

HOSTILE = "a\x1b]0;t\x07\x1b[2J\r\u202eb\u2066\u200b\x9b1m\x00\ud800"


def test_control_characters_are_written_out() -> None:
    text = escaped(HOSTILE)
    assert text == r"a\x1b]0;t\x07\x1b[2J\r\u202eb\u2066\u200b\x9b1m\x00\ud800"
    assert escaped("two\nlines\tand é 漢 🙂") == "two\nlines\tand é 漢 🙂"
    assert escaped_line("two\nlines\t") == r"two\nlines\t"


def test_a_record_of_the_log_is_written_out() -> None:
    record = SafeRecord("x", logging.INFO, __file__, 1, "column %s", (HOSTILE,), None)
    assert "\x1b" not in record.getMessage()
    assert record.getMessage().startswith(r"column a\x1b]0;t")


def test_a_console_keeps_its_styles_and_no_others() -> None:
    out = io.StringIO()
    Console(file=out, force_terminal=True, color_system="standard").print(f"[bold]x[/] {HOSTILE}"[:-1])
    assert "\x1b[1mx" in out.getvalue()
    assert "\x1b]0" not in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()


@pytest.mark.parametrize("cell", ["=HYPERLINK(1)", "+1+cmd", "-2+3", "@SUM(1)", "\t=1", "\r=1", " =1"])
def test_a_cell_of_csv_is_no_formula(cell: str) -> None:
    assert as_text(cell) == f"'{cell}"
    out = io.StringIO()
    csv.writer(out).writerow([as_text(cell)])
    assert next(csv.reader(io.StringIO(out.getvalue(), newline="")))[0].startswith("'")


@pytest.mark.parametrize("cell", ["-0.5", "+1e3", "", "fm dim=-1", 3, -0.5])
def test_numbers_stay_numbers(cell: object) -> None:
    assert as_text(cell) == cell


def test_tables_of_text_hold_no_markup_of_others() -> None:
    sheet = TextTable("t\x1b[2J", ("model", "auc"), (("<script>x</script> [a](javascript:b) | \x1b[31m", "<.0001"),))
    assert "\x1b" not in sheet.title + "".join(sheet.rows[0])
    assert "<script" not in markdown([sheet])
    assert "](javascript" not in markdown([sheet])
    assert "<.0001" in markdown([sheet])
    assert r"\input" not in latex([TextTable(r"\input{/etc/passwd}", ("a",), ((r"\input{x}",),))])


@pytest.mark.parametrize(
    ("path", "out"),
    [
        ("/etc/passwd", True),
        ("~/.ssh", True),
        ("~root/x", True),
        ("~", True),
        ("a/../../b", True),
        ("..", True),
        ("//x/y", True),
        ("file:///etc/x", True),
        ("a\0b", True),
        ("/", False),
        ("a/b.csv", False),
        ("a..b", False),
        ("~5 stars", False),
        ("https://host/x", False),
        ("/raw/x.csv", False),
        ("/raw/../etc", True),
        ("/rawer/x", True),
    ],
)
def test_paths_that_leave(path: str, out: bool) -> None:
    assert leaves(path, {"FMLAB_DATA_DIR": "/raw"}) is out
