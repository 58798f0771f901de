"""Signals while a model trains: the first one asks for a stop after the batch, a second one stops at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stopped(BaseException):
    """Training has stopped as asked, and what it had done is saved."""

    def __init__(self, number: int) -> None:
        """`number`: of the signal."""
        super().__init__(signal.Signals(number).name)
        self.number = number


class Stop:
    """Whether a signal has asked for the end of the training."""

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        again, self.number = self.number, number
        before = self._before.get(number)
        if callable(before) and before is not signal.default_int_handler:
            before(number, frame)  # the program's own notes the exit status
        if again:
            raise KeyboardInterrupt(signal.Signals(number).name)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle Ctrl-C, SIGTERM and SIGHUP inside; a program's own handler of Ctrl-C is left in place."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        taken: dict[int, Any] = {signal.SIGINT: signal.default_int_handler}
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            before = signal.getsignal(number)
            if before not in (signal.SIG_IGN, None) and before is taken.get(number, before):
                self._before[number] = before
                signal.signal(number, self)
        kept = signal.getsignal(signal.SIGINT)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, kept)  # Lightning ignores it after an interruption
            for taken_over, before in self._before.items():
                signal.signal(taken_over, before)
            self._before = {}
