"""Files of equal content as one file with several names: a hundred runs of a sweep do not hold a hundred copies.

Every run folder has a file of its own name in it, which stays whole when other runs are removed. There is no store: the
cache only remembers, by the sha256 of the content, where the last copy was written, and forgetting it costs a copy.
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from fmlab.errors import StorageError
from fmlab.files import write_bytes

NOTES = "serving"  # folder of the cache


def write_shared(path: Path, content: bytes, cache: Path) -> None:
    """Leave the content at `path`: as another name of the last file with it, where that can be; raises StorageError."""
    note = cache / NOTES / f"{hashlib.sha256(content).hexdigest()[:32]}.json"
    last = _last(note)
    if last is None or last.absolute() == path.absolute() or not _link(last, path, content):
        write_bytes(path, content)
    with suppress(OSError, StorageError):  # only a convenience
        write_bytes(note, json.dumps({"last": str(path.absolute())}).encode())


def copy_shared(source: Path, target: Path) -> None:
    """Another name of a file, or a copy where that cannot be; raises StorageError."""
    content = source.read_bytes()
    if not _link(source, target, content):
        write_bytes(target, content)


def _last(note: Path) -> Path | None:
    try:
        found = Path(json.loads(note.read_text(encoding="utf-8"))["last"])
        return found if found.is_file() and not found.is_symlink() else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _link(source: Path, target: Path, content: bytes) -> bool:
    """Give the file `source` the name `target` too, if it holds the content; whether that was done."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        os.link(source, draft)
        try:
            if draft.read_bytes() != content:
                return False
            draft.replace(target)
            return True
        finally:
            draft.unlink(missing_ok=True)
    except OSError:
        return False
