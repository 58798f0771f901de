"""`fmlab plot`: a picture of a trained run."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from fmlab.errors import FmlabError
from fmlab.serving.command import TYPE_OF_RUN, Parser, show_messages

DESCRIPTION = """\
Draws a trained run with matplotlib (pip install "fmlab[report]"):

  curves      loss and validation metrics by epoch
  importance  of fields: loss added by shuffling one, with intervals; --rows are labeled rows that are new
  interactions  what every two fields add to the score of a row of --rows with the highest label, and with the lowest
              (lorentzfm, fm; figure 5 of LorentzFM's paper)
  mutual_information  of pairs of fields and the label of --rows (figure 6 of FmFM's paper)
  pairs       what the model itself says of every two fields (ifm, fwfm, fvfm, fmfm)
  dimensions  the smaller size of the vectors of every two fields (fmfm with model.dims; figure 7 of its paper)
  disk        users and items in the Poincaré disk (hyperml)
  tsne        items in the plane, by what the model takes for alike"""
OF_ROWS = ("importance", "interactions", "mutual_information")  # as in `fmlab.serving.run_plots`
KINDS = ("curves", *OF_ROWS, "pairs", "dimensions", "disk", "tsne")
ENDS = (".png", ".pdf", ".svg")


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `fmlab plot KIND RUN --out FILE`; returns the exit code. Raises FmlabError."""
    args = _parser().parse_args(arguments)
    if args.out.suffix.lower() not in ENDS:
        raise FmlabError(f"--out must end in {', '.join(ENDS)}, got {args.out}")
    if (args.rows is None) == (args.kind in OF_ROWS):
        raise FmlabError(f"--rows goes with {', '.join(OF_ROWS)}, which need it")
    from fmlab.serving import load_run

    show_messages()
    run = load_run(args.run)
    given = {}
    if args.rows is not None:
        given = {"rows": _rows(args.rows), "label": args.label}
    run.plot(args.kind, args.out, **given)
    print(args.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="fmlab plot", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", metavar="KIND", choices=KINDS, help=", ".join(KINDS))
    parser.add_argument("run", metavar="RUN", type=Path, help=TYPE_OF_RUN)
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help=", ".join(ENDS))
    parser.add_argument("--rows", metavar="FILE", type=Path, help="a table with labels")
    parser.add_argument("--label", metavar="COLUMN", default="label", help="of --rows (default: label)")
    return parser


def _rows(path: Path) -> object:
    import pandas as pd

    from fmlab.data.raw.table import batches, detect_format

    if not path.is_file():
        raise FmlabError(f"--rows must be a file, got {path}")
    form = detect_format(path)
    parts = [batch.to_pandas() for batch in batches(path, form, list(form.names))]
    return pd.concat([part.astype(object) for part in parts], ignore_index=True)
