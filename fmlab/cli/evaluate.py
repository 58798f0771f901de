"""`fmlab evaluate FILE`: judges what another program recommends or scores, as a run that takes part in reports."""

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from fmlab.errors import FmlabError
from fmlab.terminal.console import Console
from fmlab.terminal.escaping import escaped_line

NOTHING: Mapping[str, str] = MappingProxyType({})
_ABOUT = """Judge a file of recommendations (user, item and score or rank; CSV, TSV, Parquet, or a TREC run named .trec)
or of scores (row and score, rows numbered as `fmlab data split` writes them) by the test of the data and the protocol
that key=value say, as in a run: data=adjacency data.path=train.txt data.test=test.txt protocol=composed."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise FmlabError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str], environment: Mapping[str, str] = NOTHING) -> int:
    """Run `fmlab evaluate ...`; returns the exit code."""
    parser = _Parser(prog="fmlab evaluate", description=_ABOUT)
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("options", nargs="*", metavar="key=value", help="data=..., protocol=... and their options")
    parser.add_argument("--name", default="", help="what the program is called in reports; the file's name otherwise")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="the run folder, instead of one below runs/")
    parser.add_argument(
        "--validation", type=Path, metavar="FILE", help="its file for the validation, which sorts reports"
    )
    parser.add_argument(
        "--scores", choices=("auto", "probabilities", "raw"), default="auto", help="what scores of rows are"
    )
    args, rest = parser.parse_known_args(arguments)
    if strange := [word for word in rest if word.startswith("-") or "=" not in word]:
        parser.error(f"unrecognized arguments: {' '.join(strange)}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from fmlab.config.composition import compose
    from fmlab.report.terminal import print_leaderboards
    from fmlab.run.file_evaluation import evaluate_file

    config = compose([*args.options, *rest], environment)
    probabilities = {"auto": None, "probabilities": True, "raw": False}[args.scores]
    folder = evaluate_file(
        args.file, config, name=args.name, folder=args.out, validation=args.validation, probabilities=probabilities
    )
    print_leaderboards(folder)
    Console().print(escaped_line(str(folder)), markup=False, highlight=False, soft_wrap=True)
    return 0
