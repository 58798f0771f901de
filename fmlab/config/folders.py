"""Where files may go: the home folder and what stands in for it, and paths that stay inside the working folder."""

import os
import re
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from fmlab.errors import FmlabError

CACHE, DATA = "FMLAB_CACHE", "FMLAB_DATA_DIR"
_USUAL_CACHE = "~/.cache/fmlab"
_TILDE = re.compile(r"~[A-Za-z0-9._-]*(?=/|$)")


def expanded(path: str, what: str) -> str:
    """The path with `~` as the home folder; raises FmlabError where there is none, naming `what` needs it."""
    if not _TILDE.match(path):
        return path
    found = os.path.expanduser(path)
    if found.startswith("~"):
        raise FmlabError(
            f"{what} needs a home folder, got {path!r}: HOME is not set and this user has no account; give a full path"
        )
    return found


def cache_folder(path: str) -> str:
    """The folder of prepared data; a temporary one where `path` needs a home folder and there is none."""
    try:
        return expanded(path, "cache_dir")
    except FmlabError:
        return _temporary_cache()


@cache
def _temporary_cache() -> str:
    """A folder that belongs to this user alone, the same one at the next start."""
    import logging

    place = Path(tempfile.gettempdir()) / f"fmlab-{os.getuid()}"
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        stat = place.lstat()
        if place.is_symlink() or stat.st_uid != os.getuid() or stat.st_mode & 0o077:
            raise PermissionError(str(place))
    except OSError:
        place = Path(tempfile.mkdtemp(prefix="fmlab-"))
    logging.getLogger("fmlab").warning(
        f"HOME is not set and this user has no account: prepared data go to {place}; set {CACHE} to keep them"
    )
    return str(place)


def leaves(path: str, environment: Mapping[str, str]) -> bool:
    """Whether a path leads out of the working folder, and out of the user's own folders of data and cache.

    Absolute paths, `~` and `..` are judged; symbolic links that stand in the working folder are the user's.
    """
    if "\0" in path:
        return True
    if path.startswith("file:"):
        path = re.sub(r"^file:/{0,2}(?=/)", "", path)
    if len(path) < 2 or "://" in path:  # "/" alone is a separator, not a folder
        return path == "~"
    if ".." in path.split("/"):
        return True
    if not path.startswith("/") and not _TILDE.match(path):
        return False
    found = os.path.normpath(os.path.expanduser(path))
    own = (os.getcwd(), environment.get(DATA), cache_folder(environment.get(CACHE) or _USUAL_CACHE))
    return not any(_inside(found, os.path.abspath(os.path.expanduser(folder))) for folder in own if folder)


def _inside(path: str, folder: str) -> bool:
    return path.startswith("/") and folder != "/" and os.path.commonpath([path, folder]) == folder
