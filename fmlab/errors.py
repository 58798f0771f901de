"""The one exception a user sees, and the hint that goes with it.

A message states the rule, then what was got, then the choices. Everything else that escapes is a defect
of fmlab and keeps its traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class FmlabError(Exception):
    """A mistake in what the user gave, or a limit of the machine; `code` is the exit status."""

    code = 2


class DataError(FmlabError):
    """The data break a rule: a malformed file, a label out of range, an empty split."""

    code = 65


class StorageError(FmlabError):
    """A file could not be read or written: no space, no permission, a wrong checksum."""

    code = 74


def choices(got: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known one first, then all of them."""
    names = sorted(known)
    near = [n for n in names if n.casefold() == got.casefold()] or get_close_matches(got, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}choices: {', '.join(names) if names else '(none)'}"
