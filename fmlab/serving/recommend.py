"""`fmlab recommend`: the best items for users."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmlab.errors import FmlabError
from fmlab.serving.command import TYPE_OF_RUN, Parser, report, show_messages

if TYPE_CHECKING:
    from fmlab.data.encoding.fitted_encoder import Encoder
    from fmlab.run.seen_items import Exclude
    from fmlab.serving.loaded_run import LoadedRun

DESCRIPTION = """\
The k items that a trained model scores highest for each user: user, rank, item, score, as CSV. Items that the user has
met in the data are not among them: in any part, also where the protocol left the row out (where labels are 0 and 1, or
-1 and 1, rows of the lower one do not count). --exclude train leaves out those of training alone, so that the lists can
be judged by validation and test rows; --exclude train+validation, by test rows; --exclude none, nothing. Equal scores
stand in the order of the items.

A user of whom the model knows nothing, neither the id nor an attribute that --users gives and the model uses, gets the
items with most training interactions, whose number is then the score; how many users is said.

A model with context columns scores a user in a context: give --context NAME=VALUE for each (an empty VALUE is an
unknown one), or --users, a table with a header that has a column for the user and one for each of the context.

--history gives the items that a new user has met, and lists rank, item and score for that user. The model is not
trained: EASE and ItemKNN score as they would have, iALS solves for the user's vector, and other models of two sides
take the vector that least squares predict from the histories of the training. Items of the history are left out."""


EXCLUDES = ("none", "train", "train+validation", "all")  # as in `fmlab.run.seen_items`, which help need not import


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `fmlab recommend RUN (--user ID ... | --users FILE)`; returns the exit code. Raises FmlabError."""
    args = _parser().parse_args(arguments)
    if args.context and (args.users or args.history):
        raise FmlabError("--context goes with --user; with --users the file has the columns of the context")
    from fmlab.serving import load_run
    from fmlab.serving.table_writer import refuse_extension

    refuse_extension(args.out)
    if args.users is not None and not args.users.is_file():
        raise FmlabError(f"--users must be a file, got {args.users}")
    show_messages()
    run = load_run(args.run)
    if args.history:
        _fold_in(run, args)
    else:
        _recommend(run, args)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fmlab recommend", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", type=Path, help=TYPE_OF_RUN)
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--user", metavar="ID", action="append", default=[], help="a user; may be given several times")
    who.add_argument("--history", metavar="ITEM", nargs="+", help="items that one new user has met")
    who.add_argument("--users", metavar="FILE", type=Path, help="a table with one row a query; equal rows count once")
    parser.add_argument("--context", metavar="NAME=VALUE", action="append", default=[], help="with --user")
    parser.add_argument("-k", metavar="K", type=int, default=10, help="items for each user (default: 10)")
    left_out = parser.add_mutually_exclusive_group()
    left_out.add_argument("--exclude", choices=EXCLUDES, default="all", help="items left out, by part (default: all)")
    left_out.add_argument("--seen", action="store_true", help="with the items that the user has met: --exclude none")
    parser.add_argument("--out", metavar="FILE", type=Path, help=".csv, .tsv or .parquet, instead of CSV on stdout")
    return parser


def _recommend(run: "LoadedRun", args: argparse.Namespace) -> None:
    from fmlab.serving.lists import Lists
    from fmlab.serving.table_writer import writing

    if args.k < 1:
        raise FmlabError(f"-k must be 1 or more, got {args.k}")
    lists = Lists(run, args.k, "none" if args.seen else args.exclude)
    with writing(args.out) as write:
        for rows in _queries(run.encoder, args):
            write(lists.of(rows))
    report(lists.tallies)
    if lists.unknown or lists.by_popularity:
        print(
            f"{lists.unknown:,} of {lists.queries:,} users are unknown; {lists.by_popularity:,} of whom the model "
            "knows nothing get the items with most training interactions, their number is the score",
            file=sys.stderr,
        )
    if lists.short:
        few = f"there were {lists.short:,} items too few for lists of {args.k}: {len(lists.items):,} in all"
        print(few, file=sys.stderr)


def _fold_in(run: "LoadedRun", args: argparse.Namespace) -> None:
    import pyarrow as pa

    from fmlab.serving.table_writer import writing

    exclude: Exclude = "none" if args.seen else args.exclude
    found = run.recommend(history=args.history, k=args.k, exclude=exclude)
    with writing(args.out) as write:
        write(pa.RecordBatch.from_pandas(found, preserve_index=False))
    if count := found.attrs["unknown_items"]:
        print(f"{count:,} of {len(args.history):,} items of the history are unknown to the model", file=sys.stderr)
    if found.attrs["by_popularity"]:
        print("nothing is known of the user: these are the items with most training interactions", file=sys.stderr)


def _queries(encoder: "Encoder", args: argparse.Namespace) -> Iterator[Any]:
    """Batches of different users, with their context."""
    from fmlab.data.encoding.fitted_encoder import QUERY
    from fmlab.data.raw.table import batches, detect_format

    if args.users is not None:
        form = detect_format(args.users)
        encoder.refuse_missing(form.names, str(args.users), *QUERY)
        columns = [c.name for c in encoder.columns(*QUERY) if c.name in form.names]
        seen: set[tuple[str | None, ...]] = set()
        for batch in batches(args.users, form, columns):
            rows = list(zip(*(c.to_pylist() for c in batch.columns), strict=True))
            new = [row for row in dict.fromkeys(rows) if row not in seen]
            seen.update(new)
            if new:
                yield _table(columns, new)
        return
    given = _context(encoder, args.context)
    rows = [(user or None, *(value or None for value in given.values())) for user in dict.fromkeys(args.user)]
    yield _table([encoder.id_column("user"), *given], rows)


def _table(names: Sequence[str], rows: Sequence[tuple[str | None, ...]]) -> Any:
    import pyarrow as pa

    columns = [pa.array(cells, pa.string()).dictionary_encode() for cells in zip(*rows, strict=True)]
    return pa.RecordBatch.from_arrays(columns, names=list(names))


def _context(encoder: "Encoder", given: Sequence[str]) -> dict[str, str]:
    """Values of the context columns; raises FmlabError unless each is given once."""
    from fmlab.serving.lists import check_context

    columns, found = encoder.columns("context"), dict[str, str]()
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise FmlabError(f"--context must be NAME=VALUE, got {text!r}")
        check_context({name: value}, encoder)
        if name in found:
            raise FmlabError(f"a context column has one value, {name!r} was given two")
        found[name] = value
    if missing := [c.name for c in columns if c.required and c.name not in found]:
        options = " ".join(f"--context {n}=..." for n in missing)
        raise FmlabError(f"the model scores a user in a context, give {options} (or --users, see --help)")
    return found
