"""How far a long preparation is: a bar on a terminal, a line every few seconds otherwise."""

import logging
import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fmlab.terminal.console import Console

log = logging.getLogger(__name__)
SECONDS = 10.0


class ProgressBar:
    """Counts rows, and bytes out of a known total; used as a context manager."""

    def __init__(self, what: str, total: int | None) -> None:
        """`total` bytes, None if unknown."""
        self.what, self.total, self.rows, self.bytes = what, total, 0, 0
        self.began = self.told = time.monotonic()
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self.task = self.bar.add_task(what, total=total) if self.bar else None

    def add_bytes(self, count: int) -> None:
        """Bytes have been read; may be called from another thread."""
        self.bytes += count

    def add(self, rows: int) -> None:
        """Rows have been encoded."""
        self.rows += rows
        now = time.monotonic()
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=self.bytes, description=self.line())
        elif now - self.told > SECONDS:
            self.told = now
            log.info("%s", self.line())

    def line(self) -> str:
        """`preparing mine  2,000,000 rows  430,000 rows/s`."""
        seconds = max(time.monotonic() - self.began, 1e-9)
        return f"{self.what}  {self.rows:,} rows  {self.rows / seconds:,.0f} rows/s"

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
        if error is None:
            log.info("%s", self.line())
