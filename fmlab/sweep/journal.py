"""Optuna's journal in a file that survives its writers, and in which nothing is changed unseen.

It lives through writers that are killed in a write, run out of disk, or die while they hold the lock; and each of its
records has a seal, see `fmlab.sweep.journal_records`, so that one that is changed, moved, doubled or left out is an
error with its place, never a result.
"""

import json
import logging
import os
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from optuna.storages.journal import BaseJournalBackend, JournalFileSymlinkLock
from optuna.trial import TrialState

from fmlab.errors import StorageError
from fmlab.files import storing
from fmlab.sweep.journal_records import NOTHING, SIZE, DamagedError, is_noise, is_torn, read_line, seal

log = logging.getLogger("fmlab")
_PATIENCE = 4  # seconds before the lock of a dead holder is broken
_EVERY = 1000  # records from one entry of the index to the next
_FINISHED = tuple(int(state) for state in TrialState if state.is_finished())


class _Place(NamedTuple):
    """A point between two lines."""

    offset: int = 0  # bytes before it
    lines: int = 0
    records: int = 0
    old: bool = True  # no line before it has a seal


class SafeJournal(BaseJournalBackend):
    """One JSON record a line, as Optuna's own file backend writes and reads them, each with a seal.

    A record is there once its line ends. An unfinished last line was never acknowledged to anybody: it is cut before
    the next record is written, so that it cannot swallow that one, and so is noise after the last record. A full disk
    gives the same: the record is taken back and StorageError raised. The disk is waited for when a trial ends, and not
    for steps towards it: after a power cut these would be done again.

    A reader goes on where it stopped: a step costs what it adds, however long the journal is.
    """

    def __init__(self, path: Path) -> None:
        """`path` is created if need be."""
        self.path = path
        self._lock = JournalFileSymlinkLock(str(path), grace_period=_PATIENCE)
        self._at = _Place()  # what is before it was read, and is whole
        self._chain = bytearray(NOTHING)  # digests of the lines before it
        self._index = [_Place()]  # every `_EVERY` records
        self._ahead: deque[dict[str, Any]] = deque()  # read already, and not yet asked for
        self._warned: set[int] = set()
        with storing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Records from a number on; raises StorageError at the first that is damaged."""
        if log_number_from < self._at.records - len(self._ahead):
            self._go_back(log_number_from)
        while self._ahead:
            record = self._ahead.popleft()
            if self._at.records - len(self._ahead) > log_number_from:
                yield record
        for record in self._advance():
            if self._at.records - len(self._ahead) > log_number_from:
                yield record

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write records, all or none; raises StorageError."""
        records = [json.dumps(r, separators=(",", ":")).encode() for r in logs]
        with self._locked():
            while True:
                self._ahead.extend(self._advance(locked=True))
                self._cut()
                lines, before = [], bytes(self._chain[-SIZE:])
                for number, record in enumerate(records, self._at.lines + 1):
                    line, before = seal(record, number, before)
                    lines.append(line)
                if self.path.stat().st_size == self._at.offset:
                    break  # else the lock was broken while this process was stopped, and others have written
            self._write(b"".join(lines), durable=any(r.get("state") in _FINISHED for r in logs))

    def recover(self) -> tuple[int, Path | None]:
        """Keep the records before the first damage, and move the rest to a file beside it.

        Gives the number of records kept, and that file; None where nothing is damaged. For times when no sweep is at
        work on the journal. Raises StorageError.
        """
        with self._locked():
            self._go_back(0)
            try:
                for _ in self._advance(locked=True):
                    continue
            except StorageError:
                pass
            else:
                return self._at.records, None
            names = (self.path.with_name(f"{self.path.name}.damaged{n}") for n in ("", *range(2, 1000)))
            aside = next(p for p in names if not p.exists())
            with storing(self.path.parent), self.path.open("rb+") as file, aside.open("xb") as kept:
                file.seek(self._at.offset)
                while block := file.read(1 << 20):
                    kept.write(block)
                kept.flush()
                os.fsync(kept.fileno())
                file.truncate(self._at.offset)
                os.fsync(file.fileno())
            return self._at.records, aside

    # ---------------------------------------------------------------------------------------- reading

    def _advance(self, *, locked: bool = False) -> Iterator[dict[str, Any]]:
        """Records after the place, which moves with them; raises StorageError. `locked`: the lock is held."""
        with self.path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < self._at.offset:
                raise StorageError(f"{self.path}: the journal was cut short by another program; start again")
            file.seek(self._at.offset)
            for line in file:
                try:
                    record = self._take(line)
                except DamagedError as error:
                    if locked:
                        if is_noise(line) and all(map(_is_left_over, file)):
                            self._warn("what follows the last record is noise, and is passed over")
                            return
                        raise self._damage(error) from error
                    break
                if not line.endswith(b"\n"):
                    return
                if record is not None:
                    yield record
            else:
                return
        yield from self._under_lock()  # it may have been read while it was written, by way of a slow file system

    def _under_lock(self) -> Iterator[dict[str, Any]]:
        # A folder that may only be read has no lock, and no writers on this side.
        with self._locked() if os.access(self.path.parent, os.W_OK) else nullcontext():
            self._ahead.extend(self._advance(locked=True))
        while self._ahead:
            yield self._ahead.popleft()

    def _take(self, line: bytes) -> dict[str, Any] | None:
        """The record of a line; the place moves behind it, unless the line is unfinished. Raises DamagedError."""
        if not line.endswith(b"\n"):
            if is_torn(line):
                return None
            raise DamagedError("its end is missing")
        at = self._at
        record, digest, sealed = read_line(line, self._chain, old=at.old)
        if record is None:
            self._warn(f"the line at byte {at.offset} is not a record and is passed over")
        self._chain += digest
        self._at = _Place(at.offset + len(line), at.lines + 1, at.records + (record is not None), at.old and not sealed)
        if record is not None and self._at.records % _EVERY == 0:
            self._index.append(self._at)
        return record

    def _go_back(self, records: int) -> None:
        """To the last entry of the index that is not behind so many records."""
        kept = bisect_right(self._index, records, key=lambda p: p.records)
        del self._index[kept:]
        self._at = self._index[-1]
        del self._chain[(self._at.lines + 1) * SIZE :]
        self._ahead.clear()

    def _damage(self, why: Exception) -> StorageError:
        at = self._at
        return StorageError(
            f"{self.path}: record {at.records + 1}, line {at.lines + 1}, at byte {at.offset}, is damaged: {why}; "
            f"the {at.records} before it are whole: `fmlab sweep recover {self.path}` keeps these and moves the rest "
            "to a file beside it, after which the same sweep goes on from there"
        )

    def _warn(self, what: str) -> None:
        if self._at.offset not in self._warned:
            self._warned.add(self._at.offset)
            log.warning(f"{self.path}: {what}")

    # ---------------------------------------------------------------------------------------- writing

    def _write(self, content: bytes, *, durable: bool) -> None:
        with storing(self.path.parent, needed=len(content)), self.path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                written = file.write(content)
                if written < len(content):  # the system gives the reason for the rest
                    file.write(content[written:])
                if durable:
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
        """Remove what follows the last record: an unfinished one, or noise; all is read, and the lock is held."""
        with storing(self.path.parent), self.path.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            if size == self._at.offset:
                return
            file.truncate(self._at.offset)
            os.fsync(file.fileno())
        log.warning(f"{self.path}: an unfinished record of {size - self._at.offset} bytes was cut off")


def _is_left_over(line: bytes) -> bool:
    """Whether nothing is lost with a line at the end: noise, or an unfinished record."""
    return is_noise(line) or (not line.endswith(b"\n") and is_torn(line))
