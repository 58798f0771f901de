"""Methods of models under the names that they had before version 0.2: they work for one release, with a warning."""

import logging
from collections.abc import Mapping
from typing import Any

from fmlab.errors import FmlabError

log = logging.getLogger("fmlab")
_OLD: Mapping[str, Mapping[str, str]] = {
    "two-tower": {"encode_query": "user", "encode_item": "item", "link": "link"},
    "late-interaction": {"query_state": "encode_user", "item_state": "encode_item", "interact": "combine"},
}


def take_new_names(kind: type[Any], scorer: str) -> bool:
    """Give a class whose methods have the old names of this way of scoring the new ones; False if it has none.

    Raises FmlabError where `encode_item` would have to mean both its old and its new method.
    """
    names = _OLD[scorer]
    if not all(callable(getattr(kind, old, None)) for old in names.values()):
        return False
    other = _OLD["late-interaction"]
    if scorer == "two-tower" and all(callable(getattr(kind, old, None)) for old in other.values()):
        raise FmlabError(
            f"{kind.__name__} has methods of two ways of scoring under their old names, and encode_item would mean "
            f"both: rename {_renamed(other)} and {_renamed(names)}"
        )
    for new, old in names.items():
        setattr(kind, new, getattr(kind, old))
    log.warning(
        f"{kind.__name__} has methods under their old names, which end with the next release: {_renamed(names)}"
    )
    return True


def _renamed(names: Mapping[str, str]) -> str:
    return ", ".join(f"{old} -> {new}" for new, old in names.items() if old != new)
