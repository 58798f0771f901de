"""`fmlab quantize RUN --out FOLDER`: the tables of a trained model in 8 bits, and what that costs."""

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from fmlab.errors import FmlabError
from fmlab.terminal.console import Console
from fmlab.terminal.escaping import escaped_line

_ABOUT = """Store the embedding tables of a finished run in 8 bits, with a scale for each row, as a run folder of its
own: it predicts, recommends, exports, serves and takes part in reports as any other. The model is judged by the
validation and the test of the run, on the same data; metrics and bytes of before and after are printed, and kept in
metrics.json. Nothing is trained. key=value: where the data are, as in data_dir=/data."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise FmlabError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `fmlab quantize ...`; returns the exit code."""
    parser = _Parser(prog="fmlab quantize", description=_ABOUT)
    parser.add_argument("run", metavar="RUN", type=Path, help="a run folder, or last for the newest run")
    parser.add_argument("options", nargs="*", metavar="key=value", help="data_dir=..., cache_dir=...")
    parser.add_argument("--out", type=Path, metavar="FOLDER", required=True, help="the new run folder")
    args, rest = parser.parse_known_args(arguments)
    options = [*args.options, *rest]
    if wrong := [o for o in options if "=" not in o or o.startswith("-")]:
        parser.error(f"unrecognized arguments: {' '.join(wrong)}")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    from fmlab.records.folder import RunFolder
    from fmlab.records.record import read_record
    from fmlab.workflow.quantize import quantized

    folder = quantized(args.run, args.out, dict(o.split("=", 1) for o in options))
    console = Console()
    console.print(table(read_record(RunFolder(folder).metrics)))
    console.print(escaped_line(str(folder)), markup=False, highlight=False, soft_wrap=True)
    return 0


def table(record: Mapping[str, Any]) -> Any:
    """Figures of before and after, and bytes."""
    from rich.table import Table

    before = record["quantized"]
    found = Table(title=f"{record['model']}, embedding tables in 8 bits")
    for name in ("", "before", "8 bits", "change"):
        found.add_column(name, justify="left" if not name else "right")
    for part in ("validation", "test"):
        for metric, value in record[part].items():
            old = before[part].get(metric)
            if value is not None and old is not None:
                found.add_row(f"{part} {metric}", f"{old:.5f}", f"{value:.5f}", f"{value - old:+.5f}")
    held, now = before["bytes"], record["bytes"]
    found.add_row("bytes", f"{held:,}", f"{now:,}", f"{now / held - 1:+.1%}")
    return found
