"""How long a command has been running, for limits that hold all of it."""

import os
import time
from pathlib import Path

_MOST = 60.0  # seconds that a program may take to come to its command; an older one has done other things before
_began: list[float] = []


def begin() -> None:
    """A command begins now, or began with its process where that is young."""
    age = _age()
    _began[:] = [time.monotonic() - (age if age < _MOST else 0.0)]


def elapsed() -> float:
    """Seconds since the command began; 0 where none did."""
    return time.monotonic() - _began[0] if _began else 0.0


def _age() -> float:
    """Seconds since this process began; 0 where the system does not tell."""
    try:
        ticks = float(Path("/proc/self/stat").read_text("utf-8").rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0
