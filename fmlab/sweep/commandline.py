"""What `sweep=` means on the command line: `-m sweep=automl budget=20m workers=4`. Imports next to nothing."""

import re
from collections.abc import Sequence

from fmlab.config.schema import sweep_defaults
from fmlab.errors import FmlabError

# Options of a sweep that are those of a run as well, or mappings, are reached as hydra.sweeper.<option> alone.
_NOT_SHORT = ("seed", "fixed", "space", "initial_points", "first", "auto")


def translate(overrides: Sequence[str], *, multirun: bool) -> list[str]:
    """Overrides as Hydra takes them: beside `sweep=`, options of the sweep go to the sweeper; raises FmlabError."""
    if not any(re.match(r"\+*sweep=(?!null$)", o) for o in overrides):
        return list(overrides)
    if not multirun:
        raise FmlabError("a sweep is many runs: add -m, as in fmlab -m sweep=<name>")
    short = set(sweep_defaults()) - set(_NOT_SHORT)
    return [f"hydra.sweeper.{o}" if o.partition("=")[0] in short else o for o in overrides]
