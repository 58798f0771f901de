"""Optuna's journal in a file that survives its writers: killed in a write, out of disk, dead while holding the lock."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend, JournalFileSymlinkLock
from optuna.trial import TrialState

from fmlab.files import storing

log = logging.getLogger("fmlab")
_PATIENCE = 4  # seconds before the lock of a dead holder is broken
_BLOCK = 1 << 16
_FINISHED = tuple(int(state) for state in TrialState if state.is_finished())


class SafeJournal(BaseJournalBackend):
    """One JSON record a line, as Optuna's own file backend writes and reads them.

    A record is there once its line ends. An unfinished last line was never acknowledged to anybody: it is cut before
    the next record is written, so that it cannot swallow that one. A full disk gives the same: the record is taken
    back and StorageError raised. The disk is waited for when a trial ends, and not for steps towards it: after a power
    cut these would be done again. Lines that are no records, as other writers may have left them, are passed over.
    """

    def __init__(self, path: Path) -> None:
        """`path` is created if need be; an unfinished last line is cut at once."""
        self.path = path
        self._lock = JournalFileSymlinkLock(str(path), grace_period=_PATIENCE)
        self._offsets = {0: 0}
        self._warned: set[int] = set()
        with storing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if not _ends(path):
            with self._locked():
                self._cut()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Records from a number on."""
        start = max(n for n in self._offsets if n <= log_number_from)
        number, offset = start, self._offsets[start]
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                record = _record(line)
                if record is None:
                    self._pass_over(offset - len(line))
                    self._offsets[number] = offset
                    continue
                number += 1
                self._offsets[number] = offset
                if number > log_number_from:
                    yield record

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write records, all or none; raises StorageError."""
        content = "".join(json.dumps(r, separators=(",", ":")) + "\n" for r in logs).encode()
        with self._locked(), storing(self.path.parent, needed=len(content)):
            self._cut()
            with self.path.open("ab", buffering=0) as file:
                before = file.tell()
                try:
                    written = file.write(content)
                    if written < len(content):  # the system gives the reason for the rest
                        file.write(content[written:])
                    if any(r.get("state") in _FINISHED for r in logs):
                        os.fsync(file.fileno())
                except BaseException:
                    file.truncate(before)
                    raise

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with storing(self.path.parent):
            self._lock.acquire()
        try:
            yield
        finally:
            try:
                self._lock.release()
            except RuntimeError:
                log.warning(f"{self.path}: the lock was broken by another process, this one was stopped for long")

    def _cut(self) -> None:
        """Remove an unfinished last line; the lock is held."""
        if _ends(self.path):
            return
        with self.path.open("rb+") as file:
            end = size = file.seek(0, os.SEEK_END)
            while end > 0:
                start = max(0, end - _BLOCK)
                file.seek(start)
                at = file.read(end - start).rfind(b"\n")
                if at >= 0:
                    end = start + at + 1
                    break
                end = start
            file.truncate(end)
            os.fsync(file.fileno())
        log.warning(f"{self.path}: an unfinished record of {size - end} bytes was cut off")

    def _pass_over(self, offset: int) -> None:
        if offset not in self._warned:
            self._warned.add(offset)
            log.warning(f"{self.path}: the line at byte {offset} is not a record and is passed over")


def _ends(path: Path) -> bool:
    """Whether the last line is finished."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "op_code" in record and "worker_id" in record else None
