"""What a data set is: the content of its raw files, its options, the version of its plugin. A path is no part of it.

Where an option names a raw file, the file's content stands in its place, so that the same bytes under another name, in
another folder or on another machine are the same data set. An option names a raw file if the plugin lists it in its
attribute `paths`, or, in plugins without that attribute, if it looks like a path and leads to a raw file.
"""

import hashlib
import inspect
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from fmlab.data.raw.fetch import ensure, find, mismatch
from fmlab.data.source import DataSource
from fmlab.errors import DataError
from fmlab.files import remembered_digest
from fmlab.plugin.source_checksum import plugin_source
from fmlab.terminal.redaction import redacted

log = logging.getLogger(__name__)
LAYOUT = 4  # changes whenever the same data set would be written otherwise
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")
TEXT = ("", ".csv", ".tsv", ".tab", ".psv", ".txt", ".text", ".dat", ".data", ".log")  # read alike


class Identified(NamedTuple):
    """A data set before it is opened.

    `identity`: what its key is made of, with the key and the warnings about raw files, as the cache's manifest has it.
    `files`: where its raw files are. `code_sha256`: of its plugin's source, empty where there is none.
    """

    identity: dict[str, Any]
    files: dict[str, Path]
    code_sha256: str


def identify(source: DataSource, name: str, options: Mapping[str, Any], root: Path, cache: Path) -> Identified:
    """What the key of a data set is made of, and the places of its raw files, which are fetched if missing."""
    if not re.fullmatch(r"\w[\w.:-]*", name, re.ASCII):
        raise DataError(f"a data set's name is letters, digits, '_', '-', '.' and ':', got {name!r}")
    if any(raw.urls and find(raw, root, name) is None for raw in source.raw):
        log.info("%s comes under these terms: %s", name, source.license)
    files = {raw.path: ensure(raw, root, name) for raw in source.raw}
    prints, warnings = [], []
    for raw in source.raw:
        found = remembered_digest(files[raw.path], cache / "checksums", md5=bool(raw.md5 and not raw.sha256))
        warnings.append(mismatch(raw, found, files[raw.path]))
        prints.append({"form": _form(raw.path), "size": found.size, "sha256": found.sha256})
    identity: dict[str, Any] = {
        "layout": LAYOUT,
        "name": name,
        "version": source.version,
        "options": _without_paths(source, redacted(all_options(source, options)), list(files.values()), root),
        "raw": prints,
    }
    identity["key"] = hashlib.sha256(canonical(identity).encode()).hexdigest()
    code = plugin_source(source)
    if code.changed:
        said = "the source of data set %s was edited while this process runs, which goes on with the old one: %s"
        log.warning(said, name, ", ".join(code.changed))
    identity["warnings"] = [text for text in warnings if text]
    return Identified(identity, files, code.sha256)


def all_options(source: DataSource, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the plugin's defaults, so that naming a default does not change the key."""
    parameters = inspect.signature(type(source)).parameters.values()
    known = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
    return json.loads(canonical({**known, **options}))


def canonical(content: Any) -> str:
    """JSON of built-in containers, equal for equal ones."""
    return json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=True, default=list)


def _form(path: str) -> str:
    """What the end of a name says of how the bytes are to be read; empty for text."""
    suffixes = [s.lower() for s in PurePosixPath(path.replace("\\", "/")).suffixes]
    packed = suffixes.pop() if suffixes and suffixes[-1] in PACKED else ""
    last = suffixes[-1] if suffixes else ""
    return ("" if last in TEXT else last) + packed


def _without_paths(source: DataSource, options: dict[str, Any], files: Sequence[Path], root: Path) -> dict[str, Any]:
    listed = getattr(source, "paths", None)
    made = {}
    for name, value in options.items():
        several = isinstance(value, list)
        values = value if isinstance(value, list) else [value]
        if listed is None or name in listed:
            values = [_named(v, files, root, sure=listed is not None) for v in values]
        made[name] = values if several else values[0]
    return made


def _named(value: Any, files: Sequence[Path], root: Path, *, sure: bool) -> Any:
    """Which raw file an option names, in place of its path; other values as they are."""
    if not isinstance(value, str) or not value or not (sure or set(value) & {"/", ".", os.sep}):
        return value
    for place in (Path(value).expanduser(), root / value):
        with suppress(OSError, ValueError, RuntimeError):  # no path at all
            for number, file in enumerate(files):
                if place.exists() and place.samefile(file):
                    return {"raw file": number}
                if place.is_dir() and place.resolve() in file.resolve().parents:
                    return {"folder of raw file": number}
    return value
