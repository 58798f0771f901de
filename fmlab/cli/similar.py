"""`fmlab similar`: the items most like some items."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from fmlab.serving.command import TYPE_OF_RUN, Parser, show_messages

DESCRIPTION = """\
The k items that a trained model takes for most like each of the items: the item, rank, the similar item, score, as CSV.
They are compared by the model's own geometry: the distance on its manifold, or the cosine of item vectors."""


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `fmlab similar RUN --item ID ...`; returns the exit code. Raises FmlabError."""
    args = _parser().parse_args(arguments)
    from fmlab.serving import load_run
    from fmlab.serving.table_writer import refuse_extension, writing

    refuse_extension(args.out)
    show_messages()
    found = load_run(args.run).similar(args.item, args.k, measure=args.measure)
    import pyarrow as pa

    with writing(args.out) as write:
        write(pa.RecordBatch.from_pandas(found, preserve_index=False))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="fmlab similar", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", type=Path, help=TYPE_OF_RUN)
    parser.add_argument(
        "--item", metavar="ID", action="append", required=True, help="an item; may be given several times"
    )
    parser.add_argument("-k", metavar="K", type=int, default=10, help="items for each item (default: 10)")
    measures = ("auto", "inner", "cosine", "distance")
    parser.add_argument("--measure", choices=measures, default="auto", help="how items are compared (default: auto)")
    parser.add_argument("--out", metavar="FILE", type=Path, help=".csv, .tsv or .parquet, instead of CSV on stdout")
    return parser
