"""The folder of a run: its file names, its lock, and the rules for a folder that holds a run already.

No run overwrites another: a folder that holds a run is refused, unless `if_exists` says what to do with that run, or
the run goes on from a checkpoint of this folder.
"""

import errno
import fcntl
import json
import logging
import os
import platform
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from fmlab.errors import FmlabError, StorageError
from fmlab.files import storing

log = logging.getLogger("fmlab")
SERVING = "serving.bin"  # the data that predictions need: the fitted encoder and the seen items
CHECKPOINTS, BEST, LAST = "checkpoints", "best.ckpt", "last.ckpt"
WEIGHTS = "model.safetensors"  # of a folder in the layout of the Hugging Face Hub
RESULTS, ENSEMBLE = "results.json", "ensemble.json"  # of a sweep
REFIT = "refit-all-rows"  # folder of a sweep: what it announced, trained anew on training and validation rows
IfExists = Literal["error", "resume", "overwrite"]
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_DRAFT = re.compile(r"\..+\.[0-9]+\.tmp")  # as `files.write_bytes` names what it is writing


class RunFolder:
    """The files of a run by name, and the lock of their folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = path / ".lock"
        self.config, self.environment = path / "config.yaml", path / "environment.json"
        self.metrics, self.curves, self.units = path / "metrics.json", path / "metrics.csv", path / "units.npz"
        self.calibration, self.serving = path / "calibration.json", path / SERVING
        self.structure = path / "structure.safetensors"  # what a search of the run found
        self.checkpoints = path / CHECKPOINTS
        self.best, self.last = self.checkpoints / BEST, self.checkpoints / LAST

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for one run, and remove the temporary files of saves that were killed.

        Raises FmlabError if another run has the lock, StorageError if the folder cannot be made or written.
        """
        with storing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            refuse_link(self.lock)
            for inside in self.path.iterdir():
                if inside.is_dir():  # a link to a folder would have the run write elsewhere; files are replaced
                    refuse_link(inside)
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            self._lock(descriptor)
            self._remove_drafts()
            yield
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 500, 0).decode(errors="replace").strip()
            raise FmlabError(
                f"a run folder holds one run at a time, {self.path} is in use by {owner or 'another process'}; "
                "give each run its own hydra.run.dir, or none"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise StorageError(f"{self.lock} cannot be locked: {error.strerror}") from error
            log.warning(
                f"the file system of {self.path} has no locks ({error.strerror}): a second run in this folder would "
                "not be noticed"
            )
        with storing(self.path):
            os.ftruncate(descriptor, 0)
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            os.pwrite(descriptor, f"process {os.getpid()} of {platform.node()} since {since}\n".encode(), 0)

    def _remove_drafts(self) -> None:
        """Remove temporary files that a killed save had not renamed. Only the process with the lock writes here."""
        for folder in (self.path, self.checkpoints):
            for path in folder.glob(".*.tmp"):
                if _DRAFT.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    def resume_checkpoint(self, given: str | None, if_exists: IfExists) -> Path | None:
        """The checkpoint that the run resumes from, None for a new run. `given`: `ckpt_path`, a file or a folder."""
        if given:
            path = Path(given)
            return RunFolder(path).last if path.is_dir() else path
        return self.last if if_exists == "resume" and self.last.is_file() else None

    def clear_or_refuse(self, resume: Path | None, if_exists: IfExists) -> None:
        """Remove the run of this folder if `if_exists` is overwrite.

        Raises FmlabError if there is a run, `resume` is not of it, and `if_exists` is error.
        """
        inside = resume is not None and resume.resolve().parent == self.checkpoints.resolve()
        if if_exists == "overwrite":
            if inside:
                raise FmlabError(f"if_exists=overwrite would remove {resume}, which the run resumes; give one of them")
            self._clear()
        elif not inside and (found := self.contents()):
            goes_on = "" if resume else f"if_exists=resume goes on from {self.last}, "
            raise FmlabError(
                f"no run overwrites another, {self.path} holds one ({found}); {goes_on}if_exists=overwrite removes "
                "it, another hydra.run.dir keeps both"
            )

    def contents(self) -> str:
        """The status and files that another run would overwrite; empty if there are none."""
        status = ""
        with suppress(OSError, ValueError, AttributeError):
            status = str(json.loads(self.metrics.read_text("utf-8")).get("status", ""))
        saved = [p.name for p in (self.last, self.best, self.units) if p.is_file()]
        if status != "complete" and not saved:
            return ""
        return ", ".join([*([f"status {status}"] if status else []), *saved])

    def _clear(self) -> None:
        """Remove the files of a run, and no other files."""
        files = [path for path in vars(self).values() if path not in (self.path, self.lock, self.checkpoints)]
        with storing(self.path):
            for path in files:
                path.unlink(missing_ok=True)


def refuse_link(path: Path) -> None:
    """Raise StorageError where a file of a run that is written in place is a symbolic link: it may lead anywhere."""
    if path.is_symlink():
        raise StorageError(
            f"a run writes into its own folder, {path} is a symbolic link to {os.readlink(path)}; put a copy there"
        )


def remove_drafts_of_run(checkpoint: Path) -> None:
    """Remove temporary files of killed saves from the folder of the run of `checkpoint`, unless that run is active."""
    _remove(checkpoint.parent.glob(".*.tmp"))


def remove_drafts_of_trials(folder: Path) -> None:
    """The same for the trials of the sweep in `folder`: a trial that was killed is not restarted in its folder."""
    for depth in ("trials/*", "trials/*/*"):
        _remove(folder.glob(f"{depth}/.*.tmp"))
        _remove(folder.glob(f"{depth}/checkpoints/.*.tmp"))


def _remove(drafts: Iterable[Path]) -> None:
    """A folder without temporary files is not locked, since a run may be about to start there."""
    for path in drafts:
        place = RunFolder(path.parent.parent if path.parent.name == "checkpoints" else path.parent)
        if _DRAFT.fullmatch(path.name) and place.lock.is_file():
            with suppress(FmlabError, OSError), place.locked():
                continue
