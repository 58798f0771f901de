"""Files that survive: kernel locks, durable writes, checksums, and errors that say where space and rights end."""

import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from fmlab.errors import FmlabError, StorageError

log = logging.getLogger(__name__)
BLOCK = 1 << 20
_DRAFT = re.compile(r"\..+\.fmlab-[0-9]+(\.old)?\.tmp")


@contextmanager
def locked(path: Path, waiting: str, hint: str = "") -> Iterator[None]:
    """Hold the kernel's lock on `path`, which is freed even when the holder is killed; says `waiting` if it must.

    The file itself stays: removing it would let two processes lock two files of one name.
    """
    with storing(path.parent, hint):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with storing(path.parent, hint):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("waiting: %s", waiting)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock on `path`."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def storing(folder: Path, hint: str = "", needed: int = 0) -> Iterator[None]:
    """Turn the system's refusals below into a StorageError with the path, the space needed and left, and the hint."""
    try:
        yield
    except OSError as error:
        raise StorageError(_refusal(error, folder, hint, needed)) from error


def _refusal(error: OSError, folder: Path, hint: str, needed: int) -> str:
    where = error.filename if isinstance(error.filename, str) else str(folder)
    lines = [f"{error.strerror or error}: {where}"]
    free = free_bytes(folder)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if full or needed:
        lines.append(f"needed: {size(needed) if needed else 'more than what is free'}; free: {size(free)} in {folder}")
    return "; ".join([*lines, *([hint] if hint else [])])


def free_bytes(folder: Path) -> int:
    """Free space of the file system that holds, or would hold, the folder."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def size(count: int) -> str:
    """Bytes as people write them: `5.9 MB`."""
    number, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while number >= 1000 and len(units) > 1:
        number, units = number / 1000, units[1:]
    return f"{number:.0f} {units[0]}" if units[0] == "B" or number >= 100 else f"{number:.1f} {units[0]}"


def bytes_of(text: str | int, name: str) -> int:
    """Bytes of `500MB`, `8GB`, `2 TB` or a number, in powers of ten; raises FmlabError naming the option."""
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([KMGT]?B?)", str(text).strip().upper())
    count = int(float(found[1]) * units[found[2]]) if found and found[2] in units else 0
    if count < 1:
        raise FmlabError(f"{name} must be a number of bytes such as 500MB or 8GB, got {text!r}")
    return count


def sync(path: Path) -> None:
    """Have the system write a file, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file as a whole: readers see the old content or the new, never a part; raises StorageError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storing(path.parent, needed=len(content)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(content)
            sync(draft)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync(path.parent)


def write_stream(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Like `write_bytes`, of what `write` puts into the file: content that need not be in memory as a whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storing(path.parent):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                write(file)
            sync(draft)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync(path.parent)


@contextmanager
def draft_of(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """A file, or a folder, beside `path`, to be renamed to it when it is whole; what is not renamed is removed.

    It is locked while it is written. What a killed process left is not locked any more: whoever writes into the same
    folder next removes it. Raises StorageError.
    """
    draft = path.with_name(f".{path.name}.fmlab-{os.getpid()}.tmp")
    with storing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_drafts(path.parent)
        descriptor = _locked_draft(draft, folder)
        try:
            yield draft
        finally:
            os.close(descriptor)
            _remove(draft)


def remove_drafts(folder: Path) -> None:
    """Remove what killed writers left in a folder, see `draft_of`."""
    for path in folder.glob(".*.tmp"):
        if _DRAFT.fullmatch(path.name):
            with suppress(OSError):  # it is being written, or is gone, or locks are not known here
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove(path)
                finally:
                    os.close(descriptor)


def _locked_draft(draft: Path, folder: bool) -> int:
    while True:
        _remove(draft)  # of a process with the number of this one
        if folder:
            draft.mkdir()
        else:
            draft.touch()
        descriptor = os.open(draft, os.O_RDONLY | os.O_CLOEXEC)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if draft.exists() and draft.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
        os.close(descriptor)  # another process took it for one that was left, before it was locked


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` for UTF-8 text."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """`write_bytes` for a mapping as JSON; NaN is written as null, as JSON has none."""
    write_text(path, json.dumps(_plain(content), indent=2, ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and value != value else value


class Digest(NamedTuple):
    """Size and checksums of a file's bytes."""

    size: int
    sha256: str
    md5: str


def digest(path: Path, md5: bool = False) -> Digest:
    """Checksums of a file; of an unpacked archive, that of the list of its files and their checksums."""
    if path.is_dir():
        return _digest_of_folder(path, digest)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        count = file.tell()
        file.seek(0)
        other = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() if md5 else ""
    return Digest(count, sha256, other)


def _digest_of_folder(folder: Path, of: Callable[[Path], Digest]) -> Digest:
    each = [(p.relative_to(folder).as_posix(), of(p)) for p in sorted(folder.rglob("*")) if p.is_file()]
    listing = json.dumps([(name, d.sha256) for name, d in each]).encode()
    return Digest(sum(d.size for _, d in each), hashlib.sha256(listing).hexdigest(), "")


def remembered_digest(path: Path, memory: Path, md5: bool = False) -> Digest:
    """`digest`, remembered in the folder `memory` for as long as path, size, times and inode stay the same.

    A note carries its own checksum: one that was changed, or is of an older version, is made again.
    """
    if path.is_dir():
        return _digest_of_folder(path, lambda file: remembered_digest(file, memory))
    place = os.fsencode(path.resolve())
    note = memory / f"{hashlib.sha256(place).hexdigest()[:24]}.json"
    state = _state(path)
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        known = json.loads(note.read_text(encoding="utf-8"))
        whole = known["checksum"] == _checksum(known["state"], known["digest"])
        if whole and known["state"] == state and (known["digest"][2] or not md5):
            return Digest(*known["digest"])
    found = digest(path, md5)
    settled = time.time_ns() - state[1] > 2_000_000_000  # a file still being written may change within its time stamp
    if settled and _state(path) == state:
        with suppress(
            OSError, StorageError
        ):  # only a convenience: a folder that cannot be written is reported where it matters
            memory.mkdir(parents=True, exist_ok=True)
            content = {"state": state, "digest": list(found), "checksum": _checksum(state, list(found))}
            write_text(note, json.dumps(content))
    return found


def _checksum(state: list[int], found: list[Any]) -> str:
    return hashlib.sha256(json.dumps([state, found]).encode()).hexdigest()


def _state(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns]  # the last cannot be put back by hand
