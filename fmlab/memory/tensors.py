"""Tensors that would not fit into memory are refused before they are filled; the only part that needs torch."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from fmlab.errors import FmlabError
from fmlab.memory import memory_of_machine, refuse_larger


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
