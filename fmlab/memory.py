"""How much memory there is, and what is refused because it would need more."""

import os
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

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


class _Counting(TorchFunctionMode):
    """Adds up the tensors that are made, and ends it before more are filled than memory can hold."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__()
        self.what, self.hint, self.bytes, self.most = what, hint, 0, memory_of_machine()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            made = func(*args, **(kwargs or {}))
        except RuntimeError as error:
            if "allocate memory" in str(error) or "out of memory" in str(error).lower():
                text = re.sub(r".*Allocator: ", "", str(error).split("\n")[0])
                raise FmlabError(f"{self.what} must fit into memory: {text}; {self.hint}") from error
            raise
        if isinstance(made, torch.Tensor) and not made.is_meta and not any(isinstance(a, torch.Tensor) for a in args):
            self.bytes += made.numel() * made.element_size()
            if self.bytes > self.most:
                refuse_larger(self.bytes, self.what, self.hint)
        return made


@contextmanager
def bounded(what: str, hint: str) -> Iterator[None]:
    """Within, tensors that would not fit into memory together are refused with FmlabError before they are filled."""
    with _Counting(what, hint):
        yield
