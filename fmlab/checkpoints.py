"""Checkpoints that cannot be half-written, are checked before they are read, and execute nothing.

A checkpoint is plain containers and tensors (read with `weights_only=True`), followed by their sha256. The file is
written to a temporary one in the same folder, synced and renamed: one step, so that no interruption separates them.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO

from fmlab.errors import FmlabError, StorageError
from fmlab.files import write_bytes

_MARK = b"fmlab-sha256:"


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The containers of a checkpoint; raises StorageError if it is missing or damaged, FmlabError if it is foreign."""
    if not path.is_file():
        raise StorageError(f"a checkpoint must be a file, got {path}{_others(path)}")
    content, sha256 = _split(path.read_bytes())
    if sha256 is not None and sha256 != hashlib.sha256(content).digest():
        raise StorageError(f"checkpoint {path} is damaged: its sha256 differs{_others(path)}")
    try:
        loaded = torch.load(io.BytesIO(content), map_location=map_location, weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise StorageError(
            f"{path} is not a checkpoint of plain tensors and containers: {reason}{_others(path)}"
        ) from error
    if not isinstance(loaded, dict) or "fmlab" not in loaded:
        raise FmlabError(f"{path} was not written by fmlab: it has no 'fmlab' entry")
    return loaded


def _split(content: bytes) -> tuple[bytes, bytes | None]:
    """What was saved, and its sha256; None if the file does not end in one."""
    end = len(content) - len(_MARK) - 32
    if end < 0 or content[end : end + len(_MARK)] != _MARK:
        return content, None
    return content[:end], content[end + len(_MARK) :]


def refuse_mismatch(path: Path, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise FmlabError naming everything that must be equal to resume from `path` and is not."""
    differ = [f"{k}: {saved.get(k)!r} there, {now[k]!r} here" for k in now if saved.get(k) != now[k]]
    if differ:
        listed = "\n  ".join(d if len(d) < 400 else d[:400] + " ..." for d in differ)
        raise FmlabError(f"a run can only be resumed as it was started; {path} differs in\n  {listed}")


def _others(path: Path) -> str:
    found = sorted(p.name for p in path.parent.glob("*.ckpt") if p != path) if path.parent.is_dir() else []
    return f"; others in {path.parent}: {', '.join(found)}" if found else ""


class SafeCheckpointIO(CheckpointIO):
    """The one place where Lightning's checkpoints are written and read."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write atomically, with a checksum in it."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getvalue()
        write_bytes(Path(path), content + _MARK + hashlib.sha256(content).digest())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Verify, then read; `weights_only` is always true."""
        return read_checkpoint(Path(path), map_location or "cpu")

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)
