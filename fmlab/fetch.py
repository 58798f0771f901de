"""Where raw files come from: the user's folder first, then the published addresses, each in turn."""

import gzip
import logging
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fmlab.errors import DataError, StorageError
from fmlab.files import BLOCK, Digest, locked, size, storing
from fmlab.protocols import Raw

log = logging.getLogger(__name__)
RETRIES = 3
HINT = "set FMLAB_DATA_DIR to a folder with more space or with write permission"
TIMEOUT = 30.0  # seconds without an answer


def ensure(raw: Raw, root: Path, name: str = "", retries: int = RETRIES) -> Path:
    """The place of a raw file on this disk; fetched if it is missing and may be.

    A zip archive may also stand unpacked. Raises DataError if the file must be fetched by hand or is empty,
    StorageError if no address gave it.
    """
    if found := find(raw, root, name):
        return found
    looked = ", ".join(map(str, places(raw, root, name)))
    if raw.page:
        raise DataError(
            f"{raw.path} has to be fetched by hand from {raw.page} and put into {root}; looked for it at {looked}"
        )
    if not raw.urls:
        raise DataError(f"{raw.path} is missing; looked for it at {looked}")
    target = root / raw.path
    with locked(target.with_name(f".{target.name}.lock"), f"another process is fetching {target.name}", HINT):
        if not target.is_file():
            _download(raw, target, retries)
    return target


def find(raw: Raw, root: Path, name: str = "") -> Path | None:
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


def places(raw: Raw, root: Path, name: str = "") -> list[Path]:
    """Where a raw file is looked for, in this order."""
    paths = [root / raw.path, *([root / name / raw.path] if name else [])]
    unpacked = [p.with_suffix("") for p in paths if p.suffix == ".zip"]
    return list(dict.fromkeys([*paths, *unpacked]))


def mismatch(raw: Raw, found: Digest, place: Path) -> str:
    """What is to be said of a file that is not the published one; empty if it is, or if no checksum is published."""
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


def _download(raw: Raw, target: Path, retries: int) -> None:
    import pooch

    known = f"sha256:{raw.sha256}" if raw.sha256 else f"md5:{raw.md5}" if raw.md5 else None
    failures = []
    for url in raw.urls:
        log.info("fetching %s", url)
        try:
            with storing(target.parent, HINT):
                target.parent.mkdir(parents=True, exist_ok=True)
                store = pooch.create(
                    path=target.parent,
                    base_url="",
                    registry={target.name: known},
                    urls={target.name: url},
                    retry_if_failed=retries,
                )
                store.fetch(target.name, downloader=_Download(target.name))
            return
        except (ValueError, StorageError) as error:
            if isinstance(error, StorageError) and not _from_network(error):
                raise
            reason = (
                error.__cause__ if isinstance(error, StorageError) else error
            )  # the network's, without a hint on disks
            failures.append(f"{url}: {str(reason).splitlines()[0]}")
    raise StorageError(f"{raw.path} could not be fetched: {'; '.join(failures)}; it can be put at {target} by hand")


def _from_network(error: StorageError) -> bool:
    from requests.exceptions import RequestException

    return isinstance(error.__cause__, RequestException | ConnectionError | TimeoutError)


class _Download:
    """pooch's downloader, which then looks at what came before pooch keeps it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, url: str, output: Any, store: Any) -> None:
        """Raises ValueError, on which pooch tries again."""
        import pooch

        pooch.HTTPDownloader(timeout=TIMEOUT, progressbar=False)(url, output, store)
        place = Path(output)
        with place.open("rb") as file:
            head = file.read(512)
        if reason := "".join(self._doubts(place, head)):
            raise ValueError(f"the address gave {reason} instead of {self.name}")

    def _doubts(self, place: Path, head: bytes) -> Iterator[str]:
        text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
        if not head:
            yield "nothing"
        elif text.startswith(b"<") and any(mark in text for mark in (b"<!doctype html", b"<html", b"<head")):
            yield "a web page"
        elif self.name.endswith(".zip") and not zipfile.is_zipfile(place):
            yield "no zip archive"
        elif self.name.endswith(".gz") and not head.startswith(b"\x1f\x8b"):
            yield "no gzip file"
        elif self.name.endswith(".gz") and not _is_whole(place):
            yield "a part"  # a server that names no length may stop anywhere


def _is_whole(place: Path) -> bool:
    try:
        with gzip.open(place) as file:
            while file.read(BLOCK):
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return False
    return True
