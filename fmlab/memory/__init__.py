"""How much memory there is, and what is refused because it would need more."""

import os
import resource
import sys
from pathlib import Path

from fmlab.errors import FmlabError
from fmlab.files import size

_CGROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_of_machine() -> int:
    """Bytes of memory that this machine, or the container of this process, has."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _CGROUP:
        try:
            found.append(int(Path(path).read_text()))
        except (OSError, ValueError):
            continue
    return min(found)


def memory_of_process() -> int:
    """Bytes of memory that this process holds; where the system does not tell, the most that it has held."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most


def refuse_larger(needed: float, what: str, hint: str) -> None:
    """Raise FmlabError where `what` needs more bytes than the machine has."""
    there = memory_of_machine()
    if needed > there:
        raise FmlabError(f"{what} must fit into memory: it needs {size(int(needed))}, there are {size(there)}; {hint}")
