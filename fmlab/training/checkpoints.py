"""Checkpoints that cannot be half-written, are checked before they are read, and execute nothing.

A checkpoint is plain containers and tensors (read with `weights_only=True`), followed by their sha256. The file is
written to a temporary one in the same folder, synced and renamed: one step, so that no interruption separates them.
"""

import hashlib
import logging
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.io import CheckpointIO

from fmlab.errors import FmlabError, StorageError
from fmlab.files import write_bytes, write_stream
from fmlab.records.folder import RunFolder
from fmlab.training.checkpoint_content import Unplain, check_checkpoint, load_plain, require
from fmlab.training.curves import Curves
from fmlab.training.signals import Stop, Stopped

log = logging.getLogger("fmlab")
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
    if "sampler" in now and "sampler" not in saved:
        log.warning(
            f"{path} is of an older fmlab, whose negatives were uniform: whether the sampler differs is not checked"
        )
        now = {k: v for k, v in now.items() if k != "sampler"}
    differ = [d for k in now for d in _differences(k, saved.get(k), now[k])]
    if differ:
        listed = "\n  ".join(d if len(d) < 400 else d[:400] + " ..." for d in differ)
        raise FmlabError(f"a run can only be resumed as it was started; {path} differs in\n  {listed}")


def refuse_changes(path: Path, saved: Mapping[str, Any], now: Mapping[str, Any], epochs: int, *, allow: bool) -> None:
    """Raise FmlabError if `path` was saved under other options of the trainer that change the result than `now`.

    `allow`: they may differ, which is said. `epochs`: how many are trained in all; they may always be more.
    """
    within, done = is_within_epoch(saved), saved["epoch"] + 1
    if epochs < done:
        what = "is within its epoch" if within else "has finished epoch"
        raise FmlabError(f"trainer.max_epochs must be at least {done}: {path} {what} {done}; got {epochs}")
    if "training" not in saved:
        log.warning(f"{path} is of an older fmlab: whether options of the trainer differ is not checked")
        return
    there = saved["training"]["options"]
    differ = [d for k in now for d in _differences(f"trainer.{k}", there.get(k), now[k])]
    if differ and not allow:
        raise FmlabError(
            f"a run can only be resumed as it was started, {path} differs in {'; '.join(differ)}; "
            "resume_changes=allow goes on with what is here"
        )
    if within and there.get("limit_train_batches") != now["limit_train_batches"]:
        raise FmlabError(
            f"trainer.limit_train_batches cannot change within an epoch, which {path} was saved in; "
            "resume with the old one, or from best.ckpt"
        )
    for line in differ:
        log.warning(f"resumed with another option: {line}")


def is_within_epoch(saved: Mapping[str, Any]) -> bool:
    """Whether a checkpoint was saved before its epoch was over."""
    return bool(saved.get("training", {}).get("batches"))


def _differences(name: str, there: Any, here: Any) -> Iterator[str]:
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in dict.fromkeys((*there, *here)):
            yield from _differences(f"{name}.{key}", there.get(key), here.get(key))
    elif there != here:
        yield f"{name}: {there!r} there, {here!r} here"


def _others(path: Path) -> str:
    found = sorted(p.name for p in path.parent.glob("*.ckpt") if p != path) if path.parent.is_dir() else []
    return f"; others in {path.parent}: {', '.join(found)}" if found else ""


class _Hashed:
    """A file that is written from begin to end, and the sha256 of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256 = file, hashlib.sha256()

    def write(self, content: Any) -> int:
        """Write, and count."""
        self.sha256.update(content)
        return self.file.write(content)

    def flush(self) -> None:
        """Hand on what is buffered."""
        self.file.flush()


class SafeCheckpointIO(CheckpointIO):
    """The one place where Lightning's checkpoints are written and read."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write atomically, with a checksum in it; nothing is held in memory twice."""

        def write(file: BinaryIO) -> None:
            hashed = _Hashed(file)
            torch.save(checkpoint, cast(BinaryIO, hashed))
            file.write(_MARK + hashed.sha256.digest())

        write_stream(Path(path), write)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Verify, then read; `weights_only` is always true."""
        return read_checkpoint(Path(path), map_location or "cpu")

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)


class BestCheckpoint(Callback):
    """Writes `last.ckpt` after every epoch, and `best.ckpt` when the monitored metric is better than ever before.

    Within an epoch `last.ckpt` is written when the latest one is `every` seconds old, and when a signal asks for the
    end; then Stopped is raised. What was best is part of the checkpoint: a resumed run goes on comparing with it, and
    copies the best checkpoint that lies beside the one it is resumed from.
    """

    clock = staticmethod(time.monotonic)

    def __init__(
        self, folder: RunFolder, monitor: str, maximize: bool, *, every: float | None = None, curves: bool = True
    ) -> None:
        """`every`: seconds, None for epochs only. `curves`: whether metrics.csv is written."""
        self.last, self.best = folder.last, folder.best
        self.monitor, self.maximize, self.every = monitor, maximize, every
        self.curves = Curves(folder.curves) if curves else None
        self.stop = Stop()
        self.value: float | None = None
        self.epoch: int | None = None
        self._saved, self._validated = 0.0, False

    # ------------------------------------------------------------------------------ when to save

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Processes agree on what to do by the learner's exchange after each batch."""
        self._saved = self.clock()
        first = trainer.is_global_zero

        def wish() -> int:
            if self.stop.number:
                return 1 + self.stop.number
            return int(first and self.every is not None and self.clock() - self._saved >= self.every)

        self._wish = pl_module.wish = wish  # type: ignore[assignment]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save within the epoch; after its last batch comes the validation, or the end of the epoch."""
        wish = pl_module.agreed if trainer.world_size > 1 else self._wish()
        if wish and batch_idx + 1 < trainer.num_training_batches and not trainer.should_stop:
            self._save(trainer)
            if wish > 1:
                raise Stopped(wish - 1)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Save between the last batch and the end of the epoch; the resumed run validates from the start."""
        if trainer.state.fn == "fit" and self.stop.number and trainer.is_global_zero:
            # Not `trainer.save_checkpoint`: the other processes are in validation and would not join it.
            trainer.strategy.save_checkpoint(trainer._checkpoint_connector.dump_checkpoint(False), self.last)
            raise Stopped(self.stop.number)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Within a validation, say that it has to begin again: Lightning would skip it."""
        if trainer.validating and trainer.state.fn == "fit":
            none = {"ready": 0, "completed": 0, "started": 0, "processed": 0}
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            progress |= {"total": none | {"ready": 1, "started": 1}, "current": none, "is_last_batch": False}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The metrics are those of this epoch."""
        self._validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Runs after validation, in every process; the callbacks whose state is saved had their turn then."""
        found = trainer.callback_metrics.get(self.monitor) if self._validated else None
        better = found is not None and self._better(float(found))
        if better:
            assert found is not None
            self.value, self.epoch = float(found), trainer.current_epoch
        self._draw(trainer, float(pl_module.mean_loss()), pl_module.learning_rate)
        self._validated = False
        self._save(trainer)
        if better and trainer.is_global_zero:
            write_bytes(self.best, self.last.read_bytes())
        trainer.strategy.barrier()
        number = int(trainer.strategy.broadcast(self.stop.number))
        if number:
            raise Stopped(number)

    def _draw(self, trainer: pl.Trainer, loss: float, rate: float | None) -> None:
        if self.curves is not None and trainer.is_global_zero:
            shown = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
            row = {"epoch": trainer.current_epoch, "step": trainer.global_step - 1, "train/loss": loss}
            row |= {} if rate is None else {"lr": rate}
            self.curves.add(row | (shown if self._validated else {}))

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.last, weights_only=False)
        self._saved = self.clock()

    def _better(self, value: float) -> bool:
        if self.value is None:
            return not math.isnan(value)
        return value > self.value if self.maximize else value < self.value

    # ---------------------------------------------------------------------------------- resuming

    def state_dict(self) -> dict[str, Any]:
        """What was best so far."""
        return {"value": self.value, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on comparing with what was best."""
        self.value, self.epoch = state_dict["value"], state_dict["epoch"]

    def resume(self, saved: Mapping[str, Any], path: Path) -> None:
        """Take over the curves and the best checkpoint of the run that `path` belongs to.

        Raises FmlabError if the best checkpoint is not there.
        """
        require_entries(saved, path, "epoch", "callbacks.BestCheckpoint.epoch")
        epoch = saved["callbacks"]["BestCheckpoint"]["epoch"]
        beside = path if saved["epoch"] == epoch else path.with_name(self.best.name)
        if epoch is not None:
            if not beside.is_file():
                raise FmlabError(
                    f"to resume from {path}, the best checkpoint so far must lie beside it, got no {beside}"
                )
            found = saved["epoch"] if beside is path else read_checkpoint(beside)["epoch"]
            if found != epoch:
                raise FmlabError(
                    f"to resume from {path}, the best checkpoint beside it must be of epoch {epoch}, got {beside} of "
                    f"epoch {found}"
                )
            if beside.absolute() != self.best.absolute():
                write_bytes(self.best, beside.read_bytes())
        if self.curves is not None:
            source = path.parent.parent / self.curves.path.name
            self.curves.resume(source, saved["epoch"] + (0 if is_within_epoch(saved) else 1))
