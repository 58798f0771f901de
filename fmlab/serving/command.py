"""What the commands that use a trained run share: options, logging, and what they say of unknown values."""

import argparse
import logging
from collections.abc import Mapping
from typing import NoReturn

from fmlab.errors import FmlabError
from fmlab.terminal.escaping import escaped_line

TYPE_OF_RUN = "a run folder, a sweep folder, a checkpoint in one, or last: the newest run below runs/"


class Parser(argparse.ArgumentParser):
    """Mistakes are errors of fmlab."""

    def error(self, message: str) -> NoReturn:
        """Raise FmlabError."""
        raise FmlabError(f"{message}; see {self.prog} --help")


def show_messages() -> None:
    """What the machine says goes to stderr; standard output is for rows."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")


def report(tallies: Mapping[str, object]) -> None:
    """A table on stderr of the fields (`fmlab.data.encoding.fitted_encoder.Tally`) with unseen, missing or superfluous
    values."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from fmlab.data.encoding.fitted_encoder import Tally
    from fmlab.terminal.console import Console

    kinds = {"unseen": "unseen", "missing": "missing", "dropped": "beyond slots"}
    found = {name: t for name, t in tallies.items() if isinstance(t, Tally) and (t.unseen or t.missing or t.dropped)}
    if not found:
        return
    shown = [kind for kind in kinds if any(getattr(t, kind) for t in found.values())]
    grid = Table("field", box=SIMPLE_HEAD)
    for kind in shown:
        grid.add_column(kinds[kind], justify="right")
    grid.add_column("for instance", overflow="fold")
    for name, tally in found.items():
        examples = ", ".join(repr(e) for e in tally.examples)
        grid.add_row(escape(escaped_line(name)), *(f"{getattr(tally, k):,}" for k in shown), escape(examples))
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        console.width = 120
    console.print("values that the model does not know: the unknown feature of their field stands for them")
    console.print(grid)
