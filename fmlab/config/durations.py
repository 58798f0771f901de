"""Lengths of time as people write them."""

import math
import re

from fmlab.errors import FmlabError

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(value: str | float, name: str) -> float:
    """Seconds of `90`, `90s`, `20m`, `1.5h` or `2d`; raises FmlabError that names the option `name`."""
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([smhd]?)", str(value).strip())
    count = float(found[1]) * _UNITS[found[2]] if found else value if isinstance(value, int | float) else 0.0
    if not 0 < count < math.inf:
        raise FmlabError(f"{name} must be a time such as 90s, 20m, 6h or 2d, got {value!r}")
    return count
