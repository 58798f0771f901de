"""`fmlab predict`: scores of the rows of a file, in batches."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmlab.errors import FmlabError
from fmlab.serving.command import TYPE_OF_RUN, Parser, report, show_messages
from fmlab.terminal.escaping import escaped_line

if TYPE_CHECKING:
    from fmlab.serving.loaded_run import LoadedRun

DESCRIPTION = """\
Scores rows with a trained model. ROWS is a CSV, TSV, JSON-lines or Parquet file with the raw columns that the model's
fields are made of; --columns lists them. Its rows come back with a column `score`, by which the run was judged, and
`probability` where the loss takes outputs for log-odds (of label 1 among the rows trained on, sampled negatives
included); of several targets with `score.click`, `probability.click` and so on. Other columns are passed on, whatever
they hold: what a text file cannot hold is written as JSON.

A known user or item has the attributes that it had in training; columns of attributes serve for those that are new.
Values that were not seen in training become the unknown feature of their field; how many is said on stderr."""
BLOCK = 1 << 20  # bytes of text that are read at once: their features take many times as much
EXAMPLES = 3


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `fmlab predict RUN ROWS [--out FILE]`; returns the exit code. Raises FmlabError."""
    args = _parser().parse_args(arguments)
    if (args.rows is None) != args.columns:
        raise FmlabError("predict takes either ROWS, a file, or --columns; see fmlab predict --help")
    from fmlab.serving import load_run
    from fmlab.serving.table_writer import refuse_extension

    refuse_extension(args.out)
    if args.rows is not None:
        _refuse_file(args.rows, args.out)
    show_messages()
    run = load_run(args.run)
    if args.columns:
        _list_columns(run)
        return 0
    _predict(run, args)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="fmlab predict", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", type=Path, help=TYPE_OF_RUN)
    parser.add_argument("rows", metavar="ROWS", type=Path, nargs="?", help="a table with a header, perhaps gzipped")
    parser.add_argument("--columns", action="store_true", help="list the columns that ROWS must and may have")
    parser.add_argument("--out", metavar="FILE", type=Path, help=".csv, .tsv or .parquet, instead of CSV on stdout")
    parser.add_argument("--sep", metavar="CHAR", default="", help="what separates columns; found in the first line")
    parser.add_argument("--encoding", metavar="NAME", default="utf-8", help="of the text of ROWS (default: utf-8)")
    return parser


def _refuse_file(rows: Path, out: Path | None) -> None:
    if not rows.is_file():
        raise FmlabError(f"ROWS must be a file, got {rows}{', a folder' if rows.is_dir() else ', which is not there'}")
    if out is not None and out.exists() and out.samefile(rows):
        raise FmlabError(f"--out must be another file than ROWS, got {out} for both")


def _predict(run: "LoadedRun", args: argparse.Namespace) -> None:
    import pyarrow as pa

    from fmlab.data.raw.table import TableFormat, batches, detect_format
    from fmlab.serving.table_writer import PARQUET, names_of_added, writing

    encoder = run.encoder
    form = detect_format(args.rows, TableFormat(args.sep.replace("\\t", "\t"), encoding=args.encoding))
    encoder.refuse_missing(form.names, str(args.rows))
    both_parquet = args.rows.suffix.lower() == PARQUET and args.out is not None and args.out.suffix.lower() == PARQUET
    typed = _typed(args.rows) if both_parquet else None
    read = [c.name for c in encoder.columns() if c.name in form.names]
    added = names_of_added(form.names, read, run.predicted, args.rows)
    passed = [] if both_parquet else [name for name in form.names if name not in read]
    names = list(form.names) if both_parquet else [name for name in form.names if name in {*read, *passed}]
    tallies, count = encoder.tallies(), 0
    with writing(args.out) as write:
        for batch in batches(args.rows, form, [*read, *passed], block=BLOCK, loose=passed):
            new = run.score_rows(batch, tallies)
            kept = batch.select(names) if typed is None else typed(len(batch))
            columns = [*kept.columns, *(pa.array(new[name]) for name in run.predicted)]
            write(pa.RecordBatch.from_arrays(columns, names=[*names, *added]))
            count += len(batch)
    report(tallies)
    print(f"{count:,} rows scored by {run.name}, {run.checkpoint}", file=sys.stderr)
    if run.calibration is not None:
        fitted = f"{run.calibration.method}, fitted on {run.calibration.rows:,} validation rows"
        print(f"scores and probabilities are calibrated: {fitted}", file=sys.stderr)


def _typed(path: Path) -> Any:
    """A function that gives the next rows of a Parquet file with the types that they have in it."""
    import pyarrow as pa
    from pyarrow import parquet

    source: Iterator[Any] = parquet.ParquetFile(path).iter_batches()
    rest: list[Any] = []

    def take(count: int) -> Any:
        while sum(map(len, rest)) < count:
            rest.append(next(source))
        table = pa.Table.from_batches(rest)
        rest[:] = table.slice(count).to_batches()
        (batch,) = table.slice(0, count).combine_chunks().to_batches()
        return batch

    return take


def _list_columns(run: "LoadedRun") -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from fmlab.terminal.console import Console

    fields = {f.name: f for f in run.data.schema.fields}
    grid = Table("column", "", "field", "what it holds", box=box.SIMPLE_HEAD)
    for column in run.encoder.columns():
        for name in column.fields:
            if name in run.encoder.row_inputs:
                more = run.encoder.row_inputs[name]
                what = "ids in their order" if more.codes is not None else "times" if name == "time" else "numbers"
                need = "required" if column.required else "optional" if name == "time" else f"for a new {more.side}"
                grid.add_row(*(escape(escaped_line(cell)) for cell in (column.name, need, name, what)))
                continue
            given, keys = run.data.inputs[name], run.data.keys
            if fields[name].numeric:
                what = "a number"
            else:
                values = keys[name]
                what = f"{len(values):,} values: {', '.join(values[:EXAMPLES].tolist())}"
                what += ", …" if len(values) > EXAMPLES else ""
            what += f"; several are split at {given.list_separator!r}" if given.list_separator else ""
            what += f"; made by {given.transform}" if given.transform else ""
            need = "required" if column.required else f"for a new {fields[name].side}"
            grid.add_row(*(escape(escaped_line(cell)) for cell in (column.name, need, name, what)))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    console.print(grid)
