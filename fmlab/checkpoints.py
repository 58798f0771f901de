"""Checkpoints that cannot be half-written, are checked before they are read, and execute nothing.

A checkpoint is plain containers and tensors (read with `weights_only=True`), followed by their sha256. The file is
written to a temporary one in the same folder, synced and renamed: one step, so that no interruption separates them.
"""

import hashlib
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.io import CheckpointIO

from fmlab.checkpoint_content import Unplain, check_checkpoint, load_plain, require
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
    """Raise FmlabError for the first of these entries that the checkpoint at `path` has not."""
    try:
        require(saved, *names)
    except ValueError as error:
        raise FmlabError(f"{path} was not written by fmlab, or by another version: {error}") from error


def _split(content: bytes) -> tuple[bytes, bytes | None]:
    """What was saved, and its sha256; None if the file does not end in one."""
    end = len(content) - len(_MARK) - 32
    if end < 0 or content[end : end + len(_MARK)] != _MARK:
        return content, None
    return content[:end], content[end + len(_MARK) :]


def refuse_mismatch(path: Path, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise FmlabError naming everything that must be equal to resume from `path` and is not."""
    differ = [d for k in now for d in _differences(k, saved.get(k), now[k])]
    if differ:
        listed = "\n  ".join(d if len(d) < 400 else d[:400] + " ..." for d in differ)
        raise FmlabError(f"a run can only be resumed as it was started; {path} differs in\n  {listed}")


def _differences(name: str, there: Any, here: Any) -> Iterator[str]:
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in dict.fromkeys((*there, *here)):
            yield from _differences(f"{name}.{key}", there.get(key), here.get(key))
    elif there != here:
        yield f"{name}: {there!r} there, {here!r} here"


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


class Keeper(Callback):
    """Writes `last.ckpt` after every epoch, and `best.ckpt` when the monitored metric is better than ever before.

    What was best is part of the checkpoint: a resumed run goes on comparing with it, and copies the best checkpoint
    that lies beside the one it is resumed from.
    """

    def __init__(self, folder: Path, monitor: str, maximize: bool) -> None:
        self.last, self.best = folder / "last.ckpt", folder / "best.ckpt"
        self.monitor, self.maximize = monitor, maximize
        self.value: float | None = None
        self.epoch: int | None = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Runs after validation, in every process."""
        found = trainer.callback_metrics.get(self.monitor)
        better = found is not None and self._better(float(found))
        if better:
            assert found is not None
            self.value, self.epoch = float(found), trainer.current_epoch
        trainer.save_checkpoint(self.last)
        if better and trainer.is_global_zero:
            write_bytes(self.best, self.last.read_bytes())
        trainer.strategy.barrier()

    def state_dict(self) -> dict[str, Any]:
        """What was best so far."""
        return {"value": self.value, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on comparing with what was best."""
        self.value, self.epoch = state_dict["value"], state_dict["epoch"]

    def resume(self, saved: Mapping[str, Any], path: Path) -> None:
        """Take over the best checkpoint of the run that `path` belongs to; raises FmlabError if it is not there."""
        require_entries(saved, path, "epoch", "callbacks.Keeper.epoch")
        epoch = saved["callbacks"]["Keeper"]["epoch"]
        beside = path if saved["epoch"] == epoch else path.with_name(self.best.name)
        if epoch is not None and not beside.is_file():
            raise FmlabError(f"to resume from {path}, the best checkpoint so far must lie beside it, got no {beside}")
        if epoch is not None and beside.absolute() != self.best.absolute():
            write_bytes(self.best, beside.read_bytes())

    def _better(self, value: float) -> bool:
        if self.value is None:
            return not math.isnan(value)
        return value > self.value if self.maximize else value < self.value
