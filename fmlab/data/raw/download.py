"""One file from one address: tried again, resumed where the connection broke, looked at before it is kept."""

import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fmlab.files import BLOCK, size, sync

log = logging.getLogger(__name__)
TIMEOUT = 30.0  # seconds without an answer
PIECE = 1 << 16  # bytes read at once: of the last one nothing is left where a connection breaks
SECONDS = 10.0  # between two lines about a long download


class UnreachableError(Exception):
    """The address did not give the file."""


def download(url: str, target: Path, doubts: Callable[[Path], str], retries: int) -> None:
    """Put what `url` gives at `target`, as a whole and only if `doubts` has none; the caller holds a lock on it.

    What came before a connection broke is kept beside the target and the rest is asked for, here and by whoever asks
    next, if the server names the version of its file. Raises UnreachableError after `retries` attempts in a row that
    failed and brought less than a block, OSError if the disk refuses.
    """
    from requests.exceptions import RequestException

    part, failed = _Part(target, url), 0
    while True:
        before = part.length()
        try:
            _receive(url, part)
            if reason := doubts(part.path):
                part.drop()
                raise UnreachableError(reason)
            sync(part.path)
            part.path.replace(target)
            part.drop()
            return
        except (RequestException, ConnectionError, TimeoutError, UnreachableError) as error:
            # These are OSErrors too, but of the network; a disk that refuses is none of them and goes to the caller.
            kept = part.keep_resumable()
            failed = 1 if kept - before >= BLOCK else failed + 1
            if failed > retries:
                rest = f"; {size(kept)} of it are kept, to go on from when it is asked for again" if kept else ""
                raise UnreachableError(f"{str(error).splitlines()[0]}{rest}") from error
            log.info("%s; %s", str(error).splitlines()[0], f"going on after {size(kept)}" if kept else "trying again")
            time.sleep(failed)
        except OSError:
            part.drop()  # its space may be what is missing
            raise


class _Part:
    """A file that has not come whole yet, and which version of which address it is a part of."""

    def __init__(self, target: Path, url: str) -> None:
        self.path = target.with_name(f".{target.name}.part")
        self.note, self.url = target.with_name(f".{target.name}.part.json"), url

    def length(self) -> int:
        """Bytes that can be gone on with."""
        return self.path.stat().st_size if self.version() else 0

    def version(self) -> str:
        """By which the server recognizes what the part is of; empty if there is none to go on with."""
        with suppress(OSError, ValueError, AttributeError):
            note = json.loads(self.note.read_text(encoding="utf-8"))
            if note.get("url") == self.url and self.path.is_file():
                return str(note.get("version") or "")
        return ""

    def begin(self, answer: Any) -> None:
        """Forget another part; remember which version this answer is of, if it can be gone on with."""
        self.drop()
        etag = answer.headers.get("ETag", "")
        version = "" if etag.startswith("W/") else etag or answer.headers.get("Last-Modified", "")
        if version and "Content-Encoding" not in answer.headers:  # what is packed on the way is counted otherwise
            self.note.write_text(json.dumps({"url": self.url, "version": version}), encoding="utf-8")

    def keep_resumable(self) -> int:
        """Keep what can be gone on with, remove the rest; returns how many bytes are kept."""
        if not (length := self.length()):
            self.drop()
        return length

    def drop(self) -> None:
        """Remove it."""
        for path in (self.path, self.note):
            path.unlink(missing_ok=True)


def _receive(url: str, part: _Part) -> None:
    import requests

    have, headers = part.length(), {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": part.version()}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416:
            part.drop()
        answer.raise_for_status()
        follows = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if answer.status_code == 206 and not (have and follows):
            raise UnreachableError("the address gave another piece than was asked for")
        if not follows:
            part.begin(answer)
        told, total = time.monotonic(), int(answer.headers.get("Content-Length") or 0) + (have if follows else 0)
        with part.path.open("ab") as file:
            for data in answer.iter_content(PIECE):
                file.write(data)
                if time.monotonic() - told > SECONDS:
                    told = time.monotonic()
                    log.info("%s of %s", size(file.tell()), size(total) if total else "an unknown length")
