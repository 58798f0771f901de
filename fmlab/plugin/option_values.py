"""Values for the options of a signature: known, of their types, and with an effect."""

from collections.abc import Mapping
from typing import Any

from fmlab.errors import FmlabError, choices
from fmlab.plugin.option import Option
from fmlab.plugin.renames import with_new_names
from fmlab.plugin.signature import Signature
from fmlab.terminal.redaction import looks_secret


def check_options(prefix: str, signature: Signature, given: Mapping[str, Any], title: str) -> dict[str, Any]:
    """Values for a signature's options, by their names of today; messages name `prefix.option`, or `option` alone."""
    given = with_new_names(prefix, signature, given)
    known = {o.name: o for o in signature.options}
    dotted = f"{prefix}." if prefix else ""
    for key in given:
        if key not in known:
            raise FmlabError(f"{dotted}{key} is not an option of {title}; {choices(str(key), known)}")
    values = {}
    for option in signature.options:
        if option.name not in given and option.required:
            raise FmlabError(f"{dotted}{option.name} is required by {title}: {option}")
        try:
            values[option.name] = option.check(given.get(option.name, option.default))
        except ValueError as error:
            text = "has a value of the wrong type" if looks_secret(option.name) else str(error)
            raise FmlabError(f"{dotted}{option.name} {_short(text)}") from None
    for option in signature.options:
        if values[option.name] != option.default and (why := unused(option, signature, values)):
            raise FmlabError(f"{dotted}{option.name} is {option.used_with}, got {why}: leave it out")
    return values


def unused(option: Option, signature: Signature, values: Mapping[str, Any]) -> str:
    """What leaves an option without effect among the values of all options, as in `evaluation=rows`; else empty."""
    needed = option.used_with
    if needed is None or needed.option not in values:
        return ""
    value, default = values[needed.option], next(o.default for o in signature.options if o.name == needed.option)
    if needed.holds(value, default):
        return ""
    return f"{needed.option}={value}" if needed.values else f"no {needed.option}"


def _short(text: str) -> str:
    """A message that quotes a value is no longer than a screen."""
    return text if len(text) <= 1000 else f"{text[:500]} ... {text[-300:]}"
