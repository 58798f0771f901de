"""Where raw files come from: the user's folder first, then the published addresses, each in turn."""

import gzip
import logging
import zipfile
import zlib
from pathlib import Path

from fmlab.data.raw.download import UnreachableError, download
from fmlab.data.source import RawFile
from fmlab.errors import DataError, StorageError
from fmlab.files import BLOCK, Digest, digest, locked, size, storing

log = logging.getLogger(__name__)
RETRIES = 3
HINT = "set FMLAB_DATA_DIR to a folder with more space or with write permission"


def ensure(raw: RawFile, root: Path, name: str = "", retries: int = RETRIES) -> Path:
    """The place of a raw file on this disk; fetched if it is missing and may be.

    A zip archive may also stand unpacked. Raises DataError if the file must be fetched by hand or is empty,
    StorageError if no address gave it.
    """
    if found := find(raw, root, name):
        return found
    looked = ", ".join(map(str, places(raw, root, name)))
    if raw.page:
        raise DataError(
            f"{raw.path} has to be fetched by hand from {raw.page} and put into {root}; looked for it at {looked}; "
            "data_dir=<folder> or FMLAB_DATA_DIR says where else"
        )
    if not raw.urls:
        raise DataError(
            f"{raw.path} is missing; looked for it at {looked}; data_dir=<folder> or FMLAB_DATA_DIR says where else"
        )
    target = root / raw.path
    with locked(target.with_name(f".{target.name}.lock"), f"another process is fetching {target.name}", HINT):
        if not target.is_file():
            _download(raw, target, retries)
    return target


def find(raw: RawFile, root: Path, name: str = "") -> Path | None:
    """The file if it is under the root folder; raises DataError if it is empty or no file."""
    for place in places(raw, root, name):
        if place.is_file():
            if place.stat().st_size == 0:
                raise DataError(f"the file is empty: {place}; remove it, or fetch it again")
            return place
        if place.is_dir():
            if place.suffix == "":
                return place
            raise DataError(f"expected a file, got a folder: {place}")
    return None


def places(raw: RawFile, root: Path, name: str = "") -> list[Path]:
    """Where a raw file is looked for, in this order."""
    paths = [root / raw.path, *([root / name / raw.path] if name else [])]
    unpacked = [p.with_suffix("") for p in paths if p.suffix == ".zip"]
    return list(dict.fromkeys([*paths, *unpacked]))


def mismatch(raw: RawFile, found: Digest, place: Path) -> str:
    """The message about a file that is not the published one; empty if it is, or if no checksum is published."""
    if place.is_dir():
        return f"{place.name} is an unpacked folder, so the published checksum of {raw.path} could not be checked"
    expected, got = (raw.sha256, found.sha256) if raw.sha256 else (raw.md5, found.md5)
    if not expected or got == expected.lower():
        return ""
    kind = "sha256" if raw.sha256 else "md5"
    return (
        f"{raw.path} is not the published file: {kind} {expected} expected, got {got} ({size(found.size)}); "
        "it is used all the same"
    )


def _download(raw: RawFile, target: Path, retries: int) -> None:
    failures = []
    for url in raw.urls:
        log.info("fetching %s", url)
        try:
            with storing(target.parent, HINT):
                download(url, target, lambda place: _doubts(raw, target.name, place), retries)
            return
        except UnreachableError as error:
            failures.append(f"{url}: {error}")
    raise StorageError(f"{raw.path} could not be fetched: {'; '.join(failures)}; it can be put at {target} by hand")


def _doubts(raw: RawFile, name: str, place: Path) -> str:
    """Why what came is not the file; empty if nothing is wrong with it."""
    if what := _not_the_file(name, place):
        return f"the address gave {what} instead of {name}"
    if not (raw.sha256 or raw.md5):
        return ""
    found = digest(place, md5=not raw.sha256)
    kind, expected, got = ("sha256", raw.sha256, found.sha256) if raw.sha256 else ("md5", raw.md5, found.md5)
    if got == expected.lower():
        return ""
    return f"the address gave another file: {kind} {expected} expected, got {got} ({size(found.size)})"


def _not_the_file(name: str, place: Path) -> str:
    with place.open("rb") as file:
        head = file.read(512)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        return "nothing"
    if text.startswith(b"<") and any(mark in text for mark in (b"<!doctype html", b"<html", b"<head")):
        return "a web page"
    if name.endswith(".zip") and not zipfile.is_zipfile(place):
        return "no zip archive"
    if name.endswith(".gz") and not head.startswith(b"\x1f\x8b"):
        return "no gzip file"
    if name.endswith(".gz") and not _is_whole(place):
        return "a part"  # a server that names no length may stop anywhere
    return ""


def _is_whole(place: Path) -> bool:
    try:
        with gzip.open(place) as file:
            while file.read(BLOCK):
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return False
    return True
