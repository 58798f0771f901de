"""Dataclasses from built-in containers that somebody else may have written: every value is checked against its type."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

from fmlab.plugin.option import REQUIRED, Option

Made = TypeVar("Made")


def checked(kind: type[Made], stored: Any) -> Made:
    """A dataclass of built-in values; raises ValueError for a missing, unknown or wrong one.

    A class may have `FORMER`, the names that files of earlier versions have, each with the present one.
    """
    if not isinstance(stored, Mapping):
        raise ValueError(f"{kind.__name__} must be a mapping, got {type(stored).__name__}")
    former = getattr(kind, "FORMER", {})
    stored = {former.get(name, name): value for name, value in stored.items()}
    hints, values = get_type_hints(kind), {}
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := [str(name)[:40] for name in stored if name not in known]:
        raise ValueError(f"{kind.__name__} has no {unknown[0]!r}")
    for name, field in known.items():
        default = REQUIRED if field.default is MISSING else field.default
        if name not in stored and default is REQUIRED:
            raise ValueError(f"{kind.__name__} needs {name!r}")
        try:
            values[name] = Option(name, hints[name], default).check(stored.get(name, default))
        except (ValueError, OverflowError, TypeError) as error:
            raise ValueError(f"{kind.__name__}.{name} has a value of the wrong type") from error
    return kind(**values)
