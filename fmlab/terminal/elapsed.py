"""How long a command has been running, for limits that hold all of it."""

import time

_began: list[float] = []


def begin() -> None:
    """A command begins now."""
    _began[:] = [time.monotonic()]


def elapsed() -> float:
    """Seconds since the command began; 0 where none did."""
    return time.monotonic() - _began[0] if _began else 0.0
