"""Secrets stay out of what is printed and saved."""

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
_WORDS = {"token", "secret", "password", "passwd", "credential", "credentials", "apikey"}
_PASSWORD = re.compile(r"(?<=://)([^/@\s:]*):([^/@\s]+)@")


def looks_secret(name: str) -> bool:
    """Whether an option of this name holds a secret: `api_key`, `token`; not `key_column`."""
    words = re.split(r"[^a-z]+", name.lower())
    return words[-1] == "key" or not _WORDS.isdisjoint(words)


def holds_password(value: str) -> bool:
    """Whether a text has a URL with a password in it."""
    return _PASSWORD.search(value) is not None


def redacted(value: Any, name: str = "") -> Any:
    """A copy in plain containers in which secret options, and passwords inside URLs, read `***`."""
    if isinstance(value, Mapping):
        return {k: redacted(v, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(v, name) for v in value]
    if isinstance(value, str):
        return HIDDEN if value and looks_secret(name) else _PASSWORD.sub(rf"\1:{HIDDEN}@", value)
    return value
