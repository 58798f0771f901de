"""Every path that fmlab prints leads to a trained model: one resolver for all commands that use one.

| path                                                 | the checkpoint it means                                  |
|------------------------------------------------------|----------------------------------------------------------|
| a checkpoint file                                    | itself; what serving needs lies beside it or one above   |
| a run folder, its `checkpoints`, or a file in it     | `best.ckpt`, or `last.ckpt` where a run goes on          |
| a folder as the Hugging Face Hub has it              | `model.safetensors`                                      |
| a sweep folder                                       | what was trained anew on all rows, else its ensemble,    |
|                                                      | else `best.ckpt`, else that of its best trial            |
| `last`, where there is no such file                  | that of the newest run below `runs/`                     |
| a folder of a trial with seeds, or of several runs   | that of the best run by validation, if they are of one   |
|                                                      | data set and protocol                                    |
"""

import json
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fmlab.errors import FmlabError, StorageError
from fmlab.records.folder import BEST, CHECKPOINTS, ENSEMBLE, LAST, REFIT, RESULTS, SERVING, WEIGHTS
from fmlab.records.record import read_record
from fmlab.terminal.escaping import escaped_line

log = logging.getLogger("fmlab")
OF_A_RUN = ("config.yaml", "metrics.json", SERVING)
NEWEST = "last"
DEPTHS = 6  # folders below runs/ in which a run may be: sweeps, their trials and seeds
DEPTH = 4  # folders below one of several runs: data, protocol, model, time
SHOWN = 5
MOST = 64 << 20  # bytes of a JSON file that are read


@dataclass(frozen=True)
class Located:
    """A trained model: the folder that holds what serving needs, and the checkpoint, or the file of an ensemble."""

    folder: Path
    checkpoint: Path


def locate(path: Path, wanted: Literal["best", "last"] = "best") -> Located:
    """What a path means; raises StorageError where it leads to no trained model, FmlabError where to several."""
    path = newest(path).expanduser()
    if path.is_file():
        return _of_file(path, wanted)
    for folder in (path, path / REFIT / Path(ENSEMBLE).stem, path / Path(ENSEMBLE).stem):
        if (folder / ENSEMBLE).is_file():
            return Located(folder, folder / ENSEMBLE)
    if (again := _refitted(path)) is not None:
        return Located(again, again / CHECKPOINTS / BEST)
    if not path.is_dir():
        raise StorageError(f"a run folder, a sweep folder or a checkpoint must be given, {path} is not there")
    if (path / WEIGHTS).is_file():
        return Located(path, path / WEIGHTS)
    if _is_run(path):
        return _of_run(path, wanted)
    if path.name == CHECKPOINTS and _is_run(path.parent):
        return _of_run(path.parent, wanted)
    if (path / BEST).is_file():
        return Located(path, path / BEST)
    return _of_run(_best_below(_best_trial(path) or path), wanted)


def newest(path: Path, runs: Path = Path("runs")) -> Path:
    """The path, or for `last` the folder of the newest run below `runs`; raises StorageError if there is none."""
    if str(path) != NEWEST or path.exists():
        return path
    depths = ("/".join(["*"] * depth + ["metrics.json"]) for depth in range(1, DEPTHS + 1))
    found = [p for pattern in depths for p in runs.glob(pattern) if p.is_file()]
    if not found:
        raise StorageError(f"{NEWEST} is the newest run below {runs.absolute()}, there is none")
    return max(found, key=lambda p: p.stat().st_mtime_ns).parent


def run_folder(path: Path) -> Path:
    """The folder of one run, trained or not; raises StorageError for anything else."""
    found = newest(path).expanduser()
    if not found.is_dir() or not _is_run(found):
        raise StorageError(f"a run folder holds config.yaml and metrics.json, {found} is none")
    return found


def _of_file(path: Path, wanted: Literal["best", "last"]) -> Located:
    if path.suffix != ".ckpt" and any((path.parent / name).is_file() for name in (*OF_A_RUN, BEST, RESULTS)):
        return locate(path.parent, wanted)
    above = path.absolute().parents[:2]
    folder = next((f for f in above if (f / SERVING).is_file()), None) or next(
        (f for f in above if _is_run(f)), above[0]
    )
    return Located(folder, path)


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in OF_A_RUN) and not (folder / BEST).is_file()


def _of_run(folder: Path, wanted: Literal["best", "last"]) -> Located:
    place = folder / CHECKPOINTS
    if wanted == "last" and (place / LAST).is_file():
        return Located(folder, place / LAST)
    status, error = _status(folder)
    if not (place / BEST).is_file():
        why = f"it {status}" if status in ("failed", "is running") else f"its status is {status}"
        raise StorageError(
            f"a run is used by its best checkpoint, {place / BEST} is not there: {why}{error and f': {error}'}"
        )
    if status != "complete" and wanted == "best":
        log.warning("%s did not end (%s): the best epoch that it reached is used", folder, status)
    return Located(folder, place / BEST)


def _status(folder: Path) -> tuple[str, str]:
    content = _record(folder / "metrics.json")
    words = (str(content.get(key, default))[:300] for key, default in (("status", "unknown"), ("error", "")))
    status, error = (escaped_line(" ".join(text.split())) for text in words)
    return status, error


def _record(path: Path) -> Mapping[str, Any]:
    """The record of a run, empty where there is none; raises StorageError for one of a later version."""
    try:
        return read_record(path) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _metrics(path: Path) -> Mapping[str, Any]:
    try:
        if not path.is_file() or path.stat().st_size > MOST:  # a pipe would never end
            return {}
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _best_trial(folder: Path) -> Path | None:
    """The folder of a sweep's best trial, by its number: where it ran may be another machine."""
    best = _metrics(folder / RESULTS).get("best")
    try:
        number = best[0]["number"]  # type: ignore[index]
    except (TypeError, LookupError):
        return None
    found = folder / "trials" / f"{number:04d}" if type(number) is int and number >= 0 else None
    return found if found is not None and found.is_dir() else None


def _refitted(folder: Path) -> Path | None:
    """The run that a sweep announces, where it is no ensemble and was trained anew on all rows."""
    number = _metrics(folder / REFIT / RESULTS).get("announced")
    found = folder / REFIT / "trials" / f"{number:04d}" if type(number) is int and number >= 0 else None
    return found if found is not None and (found / CHECKPOINTS / BEST).is_file() else None


def _best_below(folder: Path) -> Path:
    """The run folder, or the best one below; raises StorageError if there is none, FmlabError if they differ."""
    if _is_run(folder):
        return folder
    found = [f for f in _runs_below(folder) if (f / CHECKPOINTS / BEST).is_file()]
    if not found:
        raise StorageError(
            f"a run folder holds {SERVING} and {CHECKPOINTS}/, {folder} has none; training leaves one in runs/"
        )
    figures = [_record(f / "metrics.json") for f in found]
    said = ("data", "fingerprint", "protocol", "monitor", "maximize")
    kinds = {repr([c.get(k) for k in said]) for c in figures if c}  # a record that cannot be read is the worst
    if len(kinds) > 1:
        shown = ", ".join(map(str, found[:SHOWN])) + (", ..." if len(found) > SHOWN else "")
        raise FmlabError(f"one run must be named, {folder} holds {len(found)} of different data or protocols: {shown}")
    best = max(zip(map(_worth, figures), found, strict=True), key=lambda pair: pair[0])[1]
    if len(found) > 1:
        log.info("%s holds %d runs: the best by validation is used, %s", folder, len(found), best)
    return best


def _runs_below(folder: Path) -> Iterator[Path]:
    for depth in range(1, DEPTH + 1):
        yield from sorted(p.parent for p in folder.glob("/".join(["*"] * depth + ["metrics.json"])) if p.is_file())


def _worth(content: Mapping[str, Any]) -> float:
    try:
        value = float(content["validation"][content["monitor"]])
    except (KeyError, TypeError, ValueError, OverflowError):  # a whole number may be too large for a float
        return -math.inf
    value = value if content.get("maximize") else -value
    return -math.inf if math.isnan(value) else value
