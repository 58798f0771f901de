"""What a data plugin must give, checked when it is given: a breach names the plugin and the rule."""

import logging
from collections.abc import Sequence
from typing import Any

from fmlab.data.dataset import Dataset
from fmlab.data.source import DataSource, RawFile
from fmlab.errors import FmlabError
from fmlab.plugin import registry

log = logging.getLogger("fmlab")


def named_plugin(kind: str, name: str) -> str:
    """A plugin as messages name it: `protocol 'mine' of acme 1.0`."""
    try:
        return f"{kind} {name!r} of {registry.owner(registry.find(kind, name))}"
    except FmlabError:  # one that a program made by itself
        return f"{kind} {name!r}"


_PARTS = ("raw", "version", "license", "citation", "build")


def checked_source(source: Any, name: str) -> DataSource:
    """The same, if it has the parts of a data source, of the right types; raises FmlabError.

    `licence`, the name of `license` before version 0.2, works for one release, with a warning.
    """
    who = named_plugin("data", name)
    if hasattr(source, "licence") and not hasattr(source, "license"):
        log.warning("%s names its license `licence`, which ends with the next release: licence -> license", who)
        source.license = source.licence
    if missing := [part for part in _PARTS if not hasattr(source, part)]:
        raise FmlabError(f"{who} must have {', '.join(_PARTS)}, got {kind_of(source)} without {', '.join(missing)}")
    raw = source.raw
    if isinstance(raw, str | bytes) or not isinstance(raw, Sequence) or not all(isinstance(r, RawFile) for r in raw):
        raise FmlabError(f"{who}: raw must be a list of fmlab.contracts.RawFile, got {raw!r}")
    for part in ("version", "license", "citation"):
        if not isinstance(getattr(source, part), str):
            raise FmlabError(f"{who}: {part} must be text, got {getattr(source, part)!r}")
    return source


def checked_dataset(dataset: Any, name: str) -> Dataset:
    """The same, if it is a data set; raises FmlabError."""
    if not isinstance(dataset, Dataset):
        raise FmlabError(f"{named_plugin('data', name)}: build must give a fmlab.data.Dataset, got {kind_of(dataset)}")
    return dataset


def kind_of(value: Any) -> str:
    """The name of the type of a value, for messages."""
    return type(value).__name__
