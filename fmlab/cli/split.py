"""`fmlab data split`: the parts of a data set under a protocol, written to files."""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

from fmlab.errors import FmlabError
from fmlab.terminal.console import Console
from fmlab.terminal.escaping import escaped_line

if TYPE_CHECKING:
    from omegaconf import DictConfig

NOTHING: Mapping[str, str] = MappingProxyType({})


class Parser(argparse.ArgumentParser):
    """A parser whose errors are those of fmlab."""

    def error(self, message: str) -> NoReturn:
        """Raise FmlabError."""
        raise FmlabError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str], environment: Mapping[str, str] = NOTHING) -> int:
    """Run `fmlab data split ...`; returns the exit code."""
    parser = Parser(
        prog="fmlab data split",
        description="Write the training, validation and test rows of a protocol to files that other programs read. "
        "The last line that is printed has the options by which fmlab reads them.",
    )
    parser.add_argument("name", metavar="NAME", help="a name that `fmlab data list` shows")
    parser.add_argument(
        "options", nargs="*", metavar="key=value", help="options of the data set; protocol=... and its own"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the files are written")
    parser.add_argument("--layout", choices=("csv", "adjacency", "inter"), default="csv", help="the form of the files")
    args, rest = parser.parse_known_args(arguments)
    from omegaconf import OmegaConf

    from fmlab.run.split_files import reading_options, write_split
    from fmlab.run.task_opening import open_task

    config = composed(args.name, given_options(parser, args, rest), environment)
    task = open_task(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    show = Console(highlight=False)
    made = write_split(task, args.out, args.layout)
    options = reading_options(task.dataset, made, args.layout)
    for line in (*map(str, made), shlex.join(options)):
        show.print(escaped_line(line), markup=False, soft_wrap=True)
    return 0


def given_options(parser: Parser, args: argparse.Namespace, rest: Sequence[str]) -> list[str]:
    """Options `key=value`, also those that stand after flags; raises FmlabError for other words."""
    if strange := [word for word in rest if word.startswith("-") or "=" not in word]:
        parser.error(f"unrecognized arguments: {' '.join(strange)}")
    return [*args.options, *rest]


def composed(name: str, options: Sequence[str], environment: Mapping[str, str]) -> "DictConfig":
    """The config of a data set and a protocol; an option without a group is one of the data set."""
    from fmlab.config.composition import compose

    groups = ("protocol", "data.", "data_dir=", "cache_dir=")
    given = [o if o.startswith(groups) else f"data.{o}" for o in options]
    return compose([f"data={name}", *given], environment)
