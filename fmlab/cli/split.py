"""`fmlab data split` and `fmlab data audit`: a data set under a protocol, written to files or looked at."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from rich import box
from rich.table import Table as Grid

from fmlab.errors import FmlabError
from fmlab.terminal.console import Console
from fmlab.terminal.escaping import escaped_line

NOTHING: Mapping[str, str] = MappingProxyType({})
_ABOUT = {
    "split": "Write the training, validation and test rows of a protocol to files that other programs read.",
    "audit": "Say what of the test of a protocol stands in training: pairs, whole rows, labels; cold and tail rows.",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise FmlabError(f"{message}; see {self.prog} --help")


def main(command: str, arguments: Sequence[str], environment: Mapping[str, str] = NOTHING) -> int:
    """Run `fmlab data split ...` or `fmlab data audit ...`; returns the exit code."""
    parser = _Parser(prog=f"fmlab data {command}", description=_ABOUT[command])
    parser.add_argument("name", metavar="NAME", help="a name that `fmlab data list` shows")
    parser.add_argument(
        "options", nargs="*", metavar="key=value", help="options of the data set; protocol=... and its own"
    )
    if command == "split":
        parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the files are written")
        parser.add_argument(
            "--layout", choices=("csv", "adjacency", "inter"), default="csv", help="the form of the files"
        )
    args, rest = parser.parse_known_args(arguments)
    if strange := [word for word in rest if word.startswith("-") or "=" not in word]:
        parser.error(f"unrecognized arguments: {' '.join(strange)}")
    from omegaconf import OmegaConf

    from fmlab.config.composition import compose
    from fmlab.run.opening import open_task

    given = [
        o if o.startswith(("protocol", "data.", "data_dir=", "cache_dir=")) else f"data.{o}"
        for o in [*args.options, *rest]
    ]
    config = compose([f"data={args.name}", *given], environment)
    task = open_task(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    show = Console(highlight=False)
    if command == "split":
        from fmlab.run.split_files import write_split

        for path in write_split(task, args.out, args.layout):
            show.print(escaped_line(str(path)), markup=False, soft_wrap=True)
        return 0
    from fmlab.evaluation.audit import audit_of
    from fmlab.run.refit import refitted

    found = audit_of(task, refitted(task).training.rows)
    if found is None:
        raise FmlabError("this protocol does not say which rows it judges: there is nothing to audit")
    title = f"{args.name}, {config.protocol.name}: {len(found.rows):,} test rows"
    grid = Grid("of the test rows", "share", box=box.SIMPLE_HEAD, title=title, title_justify="left")
    words = {
        "row in training": "all their values stand in one training row",
        "pair in training": "their user and item stand in a training row",
        "answered": "and its one label there is that of the test",
        "cold user": "the user has no training row",
        "cold item": "the item has no training row",
        "tail item": "the item is not in the head, which has 80 % of training rows",
    }
    for name, text in words.items():
        if name in found.shares:
            grid.add_row(text, f"{found.shares[name]:.2%}")
    show.print(grid)
    return 0
