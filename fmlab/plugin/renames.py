"""Options under the names that they had before: they work for one release, and a warning names the new ones."""

import logging
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, NamedTuple

from fmlab.errors import FmlabError
from fmlab.plugin.signature import Signature

log = logging.getLogger("fmlab")


class NewName(NamedTuple):
    """What an old name is now. `values`: values that are written otherwise, old to new."""

    name: str
    values: Mapping[Any, Any]


def old_names(signature: Signature) -> dict[str, NewName]:
    """Former names of a signature's options that no option has today."""
    known = {o.name for o in signature.options}
    return {r.old: NewName(o.name, r.values) for o in signature.options for r in o.renamed if r.old not in known}


def old_values(signature: Signature) -> dict[str, NewName]:
    """Options that kept their names and have values with former names."""
    return {o.name: NewName(o.name, r.values) for o in signature.options for r in o.renamed if r.old == o.name}


def with_new_names(
    prefix: str, signature: Signature, given: Mapping[str, Any], stronger: Collection[str] = ()
) -> dict[str, Any]:
    """The options under their names of today, with a warning for each that has another.

    `prefix`: the group that messages name, `data`. `stronger`: new names whose values win over those of their old
    names; without it, FmlabError is raised where both are given.
    """
    old, same = old_names(signature), old_values(signature)
    found = {k: new_value(prefix, k, same[k], v) if k in same else v for k, v in given.items() if k not in old}
    for key in given:
        if key not in old:
            continue
        new = old[key]
        if new.name in stronger:
            continue
        if new.name in found:
            names = f"{_dotted(prefix, key)} is {_dotted(prefix, new.name)} now"
            raise FmlabError(f"one name of an option must be given, got both: {names}")
        found[new.name] = new_value(prefix, key, new, given[key])
    return found


def new_value(prefix: str, key: str, new: NewName, value: Any) -> Any:
    """The value as it is written today; warns of the old name, or of the old value of a name that stayed."""
    changed = any(type(v) is type(value) and v == value for v in new.values)
    if key != new.name or changed:
        name = _dotted(prefix, new.name)
        shown = f"={new.values[value]}" if changed else ""
        _warn(f"{_dotted(prefix, key)}{f'={value}' if changed else ''}", f"{name}{shown}")
    return new.values[value] if changed else value


def _dotted(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


@cache
def _warn(old: str, new: str) -> None:
    log.warning(f"{old} is called {new} now; write {new}: the next release refuses the old name")


def forget_warnings() -> None:
    """Warn again of what was warned of: for tests."""
    _warn.cache_clear()
