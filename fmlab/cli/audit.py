"""`fmlab data audit`: what of the test of a protocol stands in training, of one data set or of all on this disk."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table as Grid

from fmlab.cli.split import Parser, composed, given_options
from fmlab.data.raw.fetch import find
from fmlab.errors import FmlabError
from fmlab.plugin import inventory, registry
from fmlab.report.formats import markdown
from fmlab.report.tables import TextTable
from fmlab.terminal.console import Console
from fmlab.terminal.escaping import escaped_line

_WORDS = {
    "row in training": "all their values stand in one training row",
    "pair in training": "their user and item stand in a training row",
    "answered": "and its one label there is that of the test",
    "cold user": "the user has no training row",
    "cold item": "the item has no training row",
    "tail item": "the item is not in the head, which has 80 % of training rows",
}


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `fmlab data audit ...`; returns the exit code."""
    parser = Parser(
        prog="fmlab data audit",
        description="Say what of the test of a protocol stands in training: pairs, whole rows, labels; cold and tail "
        "rows. Without NAME: of every data set whose files are on this disk, under every protocol that suits it.",
    )
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="a name that `fmlab data list` shows")
    parser.add_argument(
        "options", nargs="*", metavar="key=value", help="options of the data set; protocol=... and its own"
    )
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    args, rest = parser.parse_known_args(arguments)
    options = given_options(parser, args, rest)
    if "=" in args.name:  # an option without a name before it
        args.name, options = "", [args.name, *options]
    show = Console(highlight=False)
    lines, unfit = [], []
    for data, protocol, given in _chosen(args.name, options, environment):
        try:
            lines.append(_line(data, protocol, given, environment))
        except FmlabError as error:
            if args.name:
                raise
            unfit.append(f"{data}, {protocol}: {error}")
    if not lines:
        raise FmlabError("no data set has its files on this disk: `fmlab data path` says where they are looked for")
    if args.name and not args.markdown:
        _print_one(show, lines[0])
        return 0
    sheet = _sheet(lines)
    if args.markdown:
        print(markdown([sheet]), end="")
    else:
        grid = Grid(*sheet.head, box=box.SIMPLE_HEAD)
        for row in sheet.rows:
            grid.add_row(*row)
        show.print(grid)
    for line in unfit:
        Console(stderr=args.markdown, highlight=False).print(escaped_line(line), markup=False, soft_wrap=True)
    return 0


def _chosen(name: str, options: list[str], environment: Mapping[str, str]) -> Iterator[tuple[str, str, list[str]]]:
    """Data set, protocol and options of each audit."""
    if name:
        yield name, str(composed(name, options, environment).protocol.name), options
        return
    asked = [o.partition("=")[2] for o in options if o.startswith("protocol=")]
    protocols = asked or [p.name for p in inventory.describe("protocol") if not p.error]
    for plugin in inventory.describe("data"):
        if plugin.error or not _is_there(plugin.name, options, environment):
            continue
        for protocol in protocols:
            yield plugin.name, protocol, [*(() if asked else (f"protocol={protocol}",)), *options]


def _is_there(name: str, options: list[str], environment: Mapping[str, str]) -> bool:
    """Whether a data set needs no option and has its raw files on this disk."""
    from omegaconf import OmegaConf

    try:
        config = composed(name, options, environment)
        given: Any = OmegaConf.to_container(config.data, resolve=True)
        source = registry.build("data", given, Path(config.data_dir))
        return all(find(raw, Path(config.data_dir), name) is not None for raw in source.raw)
    except FmlabError:
        return False


def _line(data: str, protocol: str, options: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """One audit: names, the number of test rows, and the shares."""
    from omegaconf import OmegaConf

    from fmlab.evaluation.audit import audit_of
    from fmlab.run.run_opening import with_refit_rows
    from fmlab.run.task_opening import open_task

    config = composed(data, options, environment)
    task = open_task(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    found = audit_of(task, with_refit_rows(task).training.rows)
    if found is None:
        raise FmlabError("this protocol does not say which rows it judges: there is nothing to audit")
    return {"data": data, "protocol": protocol, "rows": len(found.rows), **found.shares}


def _print_one(show: Console, line: Mapping[str, Any]) -> None:
    title = f"{line['data']}, {line['protocol']}: {line['rows']:,} test rows"
    grid = Grid("of the test rows", "share", box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for name, text in _WORDS.items():
        if name in line:
            grid.add_row(text, f"{line[name]:.2%}")
    show.print(grid)


def _sheet(lines: Sequence[Mapping[str, Any]]) -> TextTable:
    head = ("data", "protocol", "test rows", *_WORDS)
    rows = tuple(
        (line["data"], line["protocol"], f"{line['rows']:,}", *(f"{line[n]:.2%}" if n in line else "" for n in _WORDS))
        for line in lines
    )
    return TextTable("What of the test rows stands in training", head, rows, 2)
