"""`fmlab recommend`: the best items for users."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmlab.errors import DataError, FmlabError, choices
from fmlab.serving.command import TYPE_OF_RUN, Parser, report, show_messages

if TYPE_CHECKING:
    from fmlab.serving.encoding import Encoder
    from fmlab.serving.opened import Opened

DESCRIPTION = """\
The k items that a trained model scores highest for each user: user, rank, item, score, as CSV. Items that the user has
met in the data (label 1 where labels are 0/1 or -1/1, any rating otherwise, in any part of them, and also where the
protocol left the row out) are not among them, unless --seen. Equal scores stand in the order of the items. A user that
training did not know is scored by the unknown feature, and with the attributes that --users gives.

A model with context columns scores a user in a context: give --context NAME=VALUE for each (an empty VALUE is an
unknown one), or --users, a table with a header that has a column for the user and one for each of the context."""
ADDED = ("rank", "score")


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `fmlab recommend RUN (--user ID ... | --users FILE)`; returns the exit code. Raises FmlabError."""
    args = _parser().parse_args(arguments)
    if args.context and args.users:
        raise FmlabError("--context goes with --user; with --users the file has the columns of the context")
    from fmlab.serving.encoding import Encoder
    from fmlab.serving.opened import open_run
    from fmlab.serving.output import refuse_extension

    refuse_extension(args.out)
    if args.users is not None and not args.users.is_file():
        raise FmlabError(f"--users must be a file, got {args.users}")
    show_messages()
    run = open_run(args.run, environment)
    data = run.dataset
    if data.users is None or data.items is None:
        raise DataError(f"items are recommended to users: the rows of {data.name!r} have none; see fmlab predict")
    _recommend(run, Encoder(data), args)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fmlab recommend", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", type=Path, help=TYPE_OF_RUN)
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--user", metavar="ID", action="append", default=[], help="a user; may be given several times")
    who.add_argument("--users", metavar="FILE", type=Path, help="a table with one row a query; equal rows count once")
    parser.add_argument("--context", metavar="NAME=VALUE", action="append", default=[], help="with --user")
    parser.add_argument("-k", metavar="K", type=int, default=10, help="items for each user (default: 10)")
    parser.add_argument("--seen", action="store_true", help="with the items that the user has met")
    parser.add_argument("--out", metavar="FILE", type=Path, help=".csv, .tsv or .parquet, instead of CSV on stdout")
    return parser


def _recommend(run: "Opened", encoder: "Encoder", args: argparse.Namespace) -> None:
    from fmlab.batch import as_features
    from fmlab.serving.encoding import QUERY
    from fmlab.serving.output import refuse_taken, writing
    from fmlab.serving.ranking import Interactions, Ranker

    if args.k < 1:
        raise FmlabError(f"-k must be 1 or more, got {args.k}")
    user, item = encoder.id_column("user"), encoder.id_column("item")
    shown = list(dict.fromkeys((user, *(c.name for c in encoder.columns("context")))))
    refuse_taken(shown, (*ADDED, item), "the data")
    ranker = Ranker(run.model, run.dataset)
    met = None if args.seen else Interactions(run.source, run.dataset)
    tallies, count, short = encoder.tallies(), 0, 0
    items = run.dataset.keys[run.dataset.schema.fields[_first_of_items(run)].name]
    with writing(args.out) as write:
        for rows in _queries(encoder, args):
            queries = as_features(encoder.encode(rows, tallies, *QUERY))
            who = rows[user].to_pylist()
            for part in ranker.blocks(len(rows)):
                cut = type(queries)(queries.ids[part], None if queries.values is None else queries.values[part])
                found = ranker.top(cut, args.k, None if met is None else met.of(who[part]))
                write(_answers(rows.slice(part.start, part.stop - part.start), shown, item, items, found))
                short += args.k * len(cut.ids) - len(found[0])
            count += len(rows)
    report(tallies)
    if unknown := tallies[run.dataset.schema.fields[0].name].unseen:
        print(
            f"{unknown:,} of {count:,} users are unknown: they are scored with the unknown feature of the field",
            file=sys.stderr,
        )
    if short:
        print(f"there were {short:,} items too few for lists of {args.k}: {len(items):,} in all", file=sys.stderr)


def _first_of_items(run: "Opened") -> int:
    return next(n for n, f in enumerate(run.dataset.schema.fields) if f.side == "item")


def _answers(rows: Any, shown: Sequence[str], item: str, items: Any, found: tuple[Any, Any, Any]) -> Any:
    import numpy as np
    import pyarrow as pa

    query, place, score = found
    first = np.searchsorted(query, query)  # where the list of each query begins
    columns = [rows[name].take(pa.array(query)) for name in shown]
    rank = pa.array((np.arange(len(query)) - first + 1).astype(np.int32))
    texts = pa.array(items[place].tolist(), pa.string())
    return pa.RecordBatch.from_arrays([*columns, rank, texts, pa.array(score)], names=[*shown, "rank", item, "score"])


def _queries(encoder: "Encoder", args: argparse.Namespace) -> Iterator[Any]:
    """Batches of different users, with their context."""
    from fmlab.serving.encoding import QUERY
    from fmlab.tabular import batches, recognise

    if args.users is not None:
        form = recognise(args.users)
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
    wanted, found = [c.name for c in encoder.columns("context")], {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise FmlabError(f"--context must be NAME=VALUE, got {text!r}")
        if name not in wanted:
            raise FmlabError(f"the model has no context column {name!r}; {choices(name, wanted)}")
        if name in found:
            raise FmlabError(f"a context column has one value, {name!r} was given two")
        found[name] = value
    if missing := [n for n in wanted if n not in found]:
        options = " ".join(f"--context {n}=..." for n in missing)
        raise FmlabError(f"the model scores a user in a context, give {options} (or --users, see --help)")
    return found
