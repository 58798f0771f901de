"""Scores of the validation rows, kept for each trial of a sweep under the checksum of their bytes."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fmlab.data import Array
from fmlab.errors import StorageError
from fmlab.files import write_bytes

log = logging.getLogger("fmlab")
FOLDER = "scores"
_DIGEST = 64  # hexadecimal digits of a sha256


def keep_scores(folder: Path, scores: Array) -> str:
    """Write `scores[rows]` as float32 below a sweep's folder; the name to read them by. Equal ones are one file."""
    content = np.ascontiguousarray(scores, "<f4").tobytes()
    name = hashlib.sha256(content).hexdigest()
    path = _path(folder, name)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    return name


def read_scores(folder: Path, name: str) -> Array | None:
    """Scores float32[rows], None where they were dropped; raises StorageError where they are damaged."""
    if len(name) != _DIGEST or not set(name) <= set("0123456789abcdef"):
        raise StorageError(f"kept scores are named by a sha256, got {name[:80]!r}")
    path = _path(folder, name)
    if not path.is_file():
        return None
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != name:
        raise StorageError(f"{path} is damaged: its sha256 differs")
    return np.frombuffer(content, "<f4")


def kept_bytes(folder: Path) -> int:
    """Size of all scores that are kept below a sweep's folder."""
    return sum(p.stat().st_size for p in (folder / FOLDER).glob("*.f4"))


def kept_by(run: Path) -> str:
    """The name under which a run's scores are kept, empty where there are none."""
    try:
        found = json.loads((run / "metrics.json").read_text("utf-8")).get("scores")
    except (OSError, ValueError, AttributeError):
        return ""
    return found if isinstance(found, str) else ""


def drop_losers(folder: Path, ranked: Sequence[str], most: int) -> int:
    """Remove the oldest scores of the worse half of `ranked`, best first, until at most `most` bytes are kept.

    Returns how many were removed, and says it.
    """
    kept = {p.name.removesuffix(".f4"): p.stat() for p in (folder / FOLDER).glob("*.f4")}
    size, dropped = sum(s.st_size for s in kept.values()), 0
    losers = sorted((n for n in ranked[max(1, len(ranked) // 2) :] if n in kept), key=lambda n: kept[n].st_mtime_ns)
    for name in losers:
        if size <= most:
            break
        _path(folder, name).unlink(missing_ok=True)
        size -= kept[name].st_size
        dropped += 1
    if dropped:
        log.info(f"validation scores of {dropped} trials are dropped, so that at most {most:,} bytes are kept")
    return dropped


def _path(folder: Path, name: str) -> Path:
    return folder / FOLDER / f"{name}.f4"
