"""The checkpoint format: how checkpoints are written and read. They cannot be half-written, and execute nothing.

A checkpoint is built-in containers and tensors (read with `weights_only=True`), followed by their sha256. The file is
written to a temporary one in the same folder, synced and renamed in one step, so a crash cannot leave a part of it.
Its entries are listed in `fmlab.training.checkpoint_entries`; what is read is checked by
`fmlab.training.checkpoint_validation`.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from pytorch_lightning.plugins.io import CheckpointIO

from fmlab.errors import FmlabError, StorageError
from fmlab.files import write_stream
from fmlab.training.checkpoint_validation import Unplain, check_checkpoint, load_plain, require

_MARK = b"fmlab-sha256:"


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The containers of a checkpoint; raises StorageError if it is missing or damaged, FmlabError if it is foreign."""
    if not path.is_file():
        raise StorageError(f"a checkpoint must be a file, got {path}{_others(path)}")
    content, sha256 = _split(path.read_bytes())
    if sha256 is not None and sha256 != hashlib.sha256(content).digest():
        raise StorageError(f"checkpoint {path} is damaged: its sha256 differs{_others(path)}")
    if sha256 is None:
        raise StorageError(
            f"a checkpoint of fmlab ends in its sha256, {path} ({len(content):,} bytes) does not: it is cut short, or "
            f"was not written by fmlab{_others(path)}"
        )
    try:
        loaded = load_plain(content, map_location)
        check_checkpoint(loaded)
    except Unplain as error:
        raise StorageError(f"checkpoint {path} is not read: {error}{_others(path)}") from error
    except ValueError as error:
        raise FmlabError(f"{path} was not written by fmlab, or by another version: {error}") from error
    return loaded


def require_entries(saved: Mapping[str, Any], path: Path, *names: str) -> None:
    """Raise FmlabError for the first of these entries that the checkpoint at `path` does not have."""
    try:
        require(saved, *names)
    except ValueError as error:
        raise FmlabError(f"{path} was not written by fmlab, or by another version: {error}") from error


class SafeCheckpointIO(CheckpointIO):
    """Writes and reads Lightning's checkpoints in this format."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write atomically, with a checksum in it; nothing is held in memory twice."""

        def write(file: BinaryIO) -> None:
            hashed = _Hashed(file)
            try:
                torch.save(checkpoint, cast(BinaryIO, hashed))
            except RuntimeError:  # torch's archive hides the refusal of the disk behind one of its own
                if hashed.refusal is not None:
                    raise hashed.refusal from None
                raise
            file.write(_MARK + hashed.sha256.digest())

        write_stream(Path(path), write)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Verify, then read; `weights_only` is always true."""
        return read_checkpoint(Path(path), map_location or "cpu")

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)


def _split(content: bytes) -> tuple[bytes, bytes | None]:
    """The saved content and its sha256; None if the file does not end in one."""
    end = len(content) - len(_MARK) - 32
    if end < 0 or content[end : end + len(_MARK)] != _MARK:
        return content, None
    return content[:end], content[end + len(_MARK) :]


def _others(path: Path) -> str:
    found = sorted(p.name for p in path.parent.glob("*.ckpt") if p != path) if path.parent.is_dir() else []
    return f"; others in {path.parent}: {', '.join(found)}" if found else ""


class _Hashed:
    """A file that is written from beginning to end, and the sha256 of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256 = file, hashlib.sha256()
        self.refusal: OSError | None = None

    def write(self, content: Any) -> int:
        """Write, and update the sha256; what the system refuses is remembered."""
        self.sha256.update(content)
        try:
            return self.file.write(content)
        except OSError as error:
            self.refusal = error
            raise

    def flush(self) -> None:
        """Write what is buffered."""
        self.file.flush()
