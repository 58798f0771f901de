"""What `sweep=` means on the command line: `-m sweep=automl budget=20m workers=4`. Imports next to nothing."""

import re
from collections.abc import Sequence

from fmlab.errors import FmlabError

# Options of a sweep that cannot be mistaken for those of a run; all are reached as hydra.sweeper.<option>.
OPTIONS = (
    "metric",
    "direction",
    "sampler",
    "pruner",
    "trials",
    "workers",
    "threads",
    "seeds",
    "budget",
    "storage",
    "study",
    "folder",
    "extend",
    "retries",
    "heartbeat",
    "part",
    "share",
    "refit",
)


def translate(overrides: Sequence[str], *, multirun: bool) -> list[str]:
    """Overrides as Hydra takes them: beside `sweep=`, options of the sweep go to the sweeper; raises FmlabError."""
    if not any(re.match(r"\+*sweep=(?!null$)", o) for o in overrides):
        return list(overrides)
    if not multirun:
        raise FmlabError("a sweep is many runs: add -m, as in fmlab -m sweep=<name>")
    return [f"hydra.sweeper.{o}" if o.partition("=")[0] in OPTIONS else o for o in overrides]
