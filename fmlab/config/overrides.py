"""Values as Hydra's override grammar reads them."""

import re
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./:+-]*")


_WORDS = ("null", "true", "false", "nan", "inf")


def override(key: str, value: Any) -> str:
    """`key=value` as Hydra reads it."""
    return f"{key}={text(value)}"


def text(value: Any) -> str:
    """A value as Hydra reads it: `[512,256]`, `null`, `'two words'`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(text(v) for v in value)}]"
    if isinstance(value, str) and (not _PLAIN.fullmatch(value) or value.lower() in _WORDS):
        # Hydra takes a backslash as it is, unless a quote follows it.
        escaped = re.sub(r"(\\*)('|\Z)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), value)
        return f"'{escaped}'"
    return str(value)
