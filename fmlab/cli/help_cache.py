"""The text of a bare `fmlab --help`, kept in the cache folder: composing a config for it takes most of its time.

The text depends on the installed plugins, the configs and the code: it is used again while sizes and times of their
files are the same, among them the lists of entry points of all installed packages.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from fmlab import __version__

UNKNOWN = "configs of another package"
_MOST = 1 << 20  # bytes of the file that are read
_PACKAGE = Path(__file__).resolve().parent.parent
_FILES = (".py", ".yaml")


def read(environment: Mapping[str, str], key: str) -> str | None:
    """The text, if that of this key is there."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        place = _place(environment) if key else None
        if place is not None and place.stat().st_size <= _MOST:
            found = json.loads(place.read_text("utf-8"))
            if found["key"] == key and found["sha256"] == _digest(found["text"]):
                return str(found["text"])
    return None


def write(environment: Mapping[str, str], key: str, text: str) -> None:
    """Keep the text, where there is a folder for it."""
    from fmlab.errors import StorageError
    from fmlab.files import write_text

    place = _place(environment) if key else None
    if place is not None:
        with suppress(OSError, StorageError):
            write_text(place, json.dumps({"key": key, "sha256": _digest(text), "text": text}))


def key_of() -> str:
    """What the text depends on; empty where a package has configs of its own, whose files are not known here."""
    files = [line for folder in _folders() for line in _files(folder)]
    packages = list(_entry_points())
    return "" if UNKNOWN in packages else _digest("\n".join([__version__, sys.version, *packages, *sorted(files)]))


def _folders() -> list[str]:
    """The package with its configs; in a checkout these, and the plugins, stand beside it."""
    beside = [_PACKAGE.parent / name for name in ("conf", "sweeps", "plugins")]
    beside += _PACKAGE.parent.glob("fmlab_*")
    return [str(_PACKAGE), *sorted(str(p) for p in beside if p.is_dir())]


def _files(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from _files(entry.path)
            elif entry.name.endswith(_FILES):
                yield _line(entry.path)


def _entry_points() -> Iterator[str]:
    """Of each installed package, in the order in which Python finds them."""
    for folder in sys.path:
        with suppress(OSError):
            for name in sorted(os.listdir(folder or ".")):
                if name.endswith((".dist-info", ".egg-info")):
                    with suppress(OSError):
                        place = os.path.join(folder, name, "entry_points.txt")
                        yield _line(place)
                        with open(place, encoding="utf-8", errors="replace") as file:
                            if "[fmlab.conf]" in file.read():
                                yield UNKNOWN


def _line(path: str) -> str:
    stat = os.stat(path)
    return f"{path} {stat.st_size} {stat.st_mtime_ns}"


def _place(environment: Mapping[str, str]) -> Path | None:
    """The file in the cache folder that exists; a bare `--help` makes no folder."""
    folder = Path(environment.get("FMLAB_CACHE") or os.path.expanduser("~/.cache/fmlab"))
    return folder / "help.json" if folder.is_absolute() and folder.is_dir() else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
