"""The columnar cache: a data set is prepared once for each content, and memory-mapped ever after.

A folder `<name>-<key>` holds one .npy file an array and `manifest.json`. The key (`fmlab.data.store.fingerprint`) is a
hash of the raw files' checksums, the options, the plugin's version and the version of this layout, so that a changed
file or option is a new folder and the old one stays. Folders appear by renaming a finished one: a reader sees all of it
or nothing.

The manifest also lists the sources of the plugin that gave these arrays. Where another source asks for them, they are
prepared again: if they come out the same, its checksum joins the list; if not, they are another data set, with a key
of its own.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fmlab.data.dataset import Dataset
from fmlab.data.schema import Array
from fmlab.data.source import DataSource
from fmlab.data.source_checks import checked_dataset
from fmlab.data.store.fingerprint import Identified, canonical, identify
from fmlab.data.store.serialization import pack, unpack, with_present_names
from fmlab.data.store.validation import check
from fmlab.errors import StorageError
from fmlab.files import digest, free_bytes, is_locked, locked, size, storing, sync, write_text

log = logging.getLogger(__name__)
HINT = "set FMLAB_CACHE to a folder with more space or with write permission"
_verified: set[tuple[str, int, int]] = set()  # folders whose checksums this process has seen to be right


def cached_dataset(
    source: DataSource,
    name: str,
    options: Mapping[str, Any],
    root: Path,
    cache: Path,
    identified: Identified | None = None,
) -> Dataset:
    """The prepared data set, from the cache if its content is there, else built; of many processes one builds.

    `identified`: what `identify` gave, if it was asked. Raises DataError for bad raw data, StorageError where the disk
    or the network refuses. A damaged cache is rebuilt with a warning; a failed build leaves the cache as it was.
    """
    identity, files, code_sha256 = identified or identify(source, name, options, root, cache)
    for text in identity["warnings"]:
        log.warning("%s", text)
    folder = _folder(cache, name, identity)
    if (found := _open(folder, name, code_sha256)) is not None:
        return found
    with locked(cache / f"{folder.name}.lock", f"another process is preparing {name}", HINT):
        if (found := _open(folder, name, code_sha256)) is not None:
            return found
        known = _open(folder, name)
        if known is None:
            _prepare(source, name, files, {**identity, "sources": [code_sha256]}, folder)
        else:
            folder = _prepare_again(source, name, files, identity, folder, code_sha256)
    found = _open(folder, name, code_sha256)
    if found is None:
        raise StorageError(f"the cache cannot be read back right after it was written: {folder}; {HINT}")
    return found


def _prepare(
    source: DataSource, name: str, files: Mapping[str, Path], identity: Mapping[str, Any], folder: Path
) -> None:
    """Build the folder; its lock is held."""
    cache = folder.parent
    _sweep(cache, folder.name)
    draft = cache / f"{folder.name}.{os.getpid()}.tmp"
    try:
        _build(source, name, files, identity, draft)
        _publish(draft, folder)
        _verified.add(_mark(folder))  # its checksums have just been taken
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _prepare_again(
    source: DataSource,
    name: str,
    files: Mapping[str, Path],
    identity: Mapping[str, Any],
    folder: Path,
    code_sha256: str,
) -> Path:
    """What an edited plugin makes of the same files: the folder as it was if that is the same, else another."""
    own = {
        **identity,
        "sources": [code_sha256],
        "key": hashlib.sha256(f"{identity['key']} {code_sha256}".encode()).hexdigest(),
    }
    other = _folder(folder.parent, name, own)
    if _open(other, name, code_sha256) is not None:
        return other
    said = f"the source of data set {name} was edited, its version is {identity['version']!r} as before"
    log.warning("%s: it is prepared again", said)
    _prepare(source, name, files, own, other)
    before, now = _manifest(folder), _manifest(other)
    if (before["files"], with_present_names(before["dataset"])) != (now["files"], now["dataset"]):
        log.warning("%s, but it makes other data now: runs on the data of before cannot be resumed", said)
        return other
    before["sources"] = [*before["sources"], code_sha256]
    before |= {part: now[part] for part in ("time_input",) if part in now}
    before["checksum"] = hashlib.sha256(canonical(before).encode()).hexdigest()
    write_text(folder / "manifest.json", json.dumps(before, indent=1, ensure_ascii=False) + "\n")
    shutil.rmtree(other, ignore_errors=True)
    return folder


def lookup(source: DataSource, name: str, options: Mapping[str, Any], root: Path, cache: Path) -> tuple[Path, bool]:
    """The folder a data set has in the cache, and whether it is there; raw files must be on this disk."""
    folder = _folder(cache, name, identify(source, name, options, root, cache).identity)
    return folder, folder.is_dir()


def _folder(cache: Path, name: str, identity: Mapping[str, Any]) -> Path:
    return cache / f"{name.replace(':', '-')}-{identity['key'][:16]}"


def verify(folder: Path) -> str:
    """What is wrong with a cached folder, every checksum included; empty if nothing is."""
    try:
        manifest = _manifest(folder)
        _check_files(folder, manifest, hashes=True)
    except _DamagedError as damage:
        return str(damage)
    return ""


def _open(folder: Path, name: str, code_sha256: str = "") -> Dataset | None:
    """The data set of a folder, if it is whole and, where `code_sha256` is given, of this source of its plugin."""
    if not folder.is_dir():
        return None
    try:
        manifest = _manifest(folder)
        mark = _mark(folder)
        _check_files(folder, manifest, hashes=mark not in _verified)
        if code_sha256 and code_sha256 not in manifest["sources"]:
            return None
        altered = bool(manifest["warnings"])
        key = manifest["key"] + ("+altered" if altered else "")
        found = unpack(name, folder, manifest["dataset"], key, manifest.get("time_input"))
    except (_DamagedError, FileNotFoundError) as damage:
        log.warning("the cached data set is damaged and will be prepared again: %s: %s", folder, damage)
        return None
    except OSError as error:
        raise StorageError(f"the cache cannot be read: {error}; {HINT}") from error
    _verified.add(mark)
    return found


def _mark(folder: Path) -> tuple[str, int, int]:
    stat = (folder / "manifest.json").stat()
    return str(folder.resolve()), stat.st_ino, stat.st_mtime_ns


class _DamagedError(Exception):
    pass


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        checksum = manifest.pop("checksum")
    except (ValueError, AttributeError, KeyError, FileNotFoundError) as error:
        raise _DamagedError(f"manifest.json: {error}") from error
    if hashlib.sha256(canonical(manifest).encode()).hexdigest() != checksum:
        raise _DamagedError("manifest.json has another checksum than it says")
    return manifest


def _check_files(folder: Path, manifest: Mapping[str, Any], hashes: bool) -> None:
    for name, entry in manifest["files"].items():
        path = folder / name
        length = path.stat().st_size if path.is_file() else -1
        if length != entry["size"]:
            raise _DamagedError(f"{name} has {length} bytes, expected {entry['size']}")
        if hashes and digest(path).sha256 != entry["sha256"]:
            raise _DamagedError(f"{name} has another sha256 than the manifest")


def _build(source: DataSource, name: str, files: Mapping[str, Path], identity: Mapping[str, Any], draft: Path) -> None:
    workspace = draft / "workspace"
    log.info("preparing %s", name)
    with storing(draft.parent, HINT):
        workspace.mkdir(parents=True)
        dataset = checked_dataset(source.build(files, workspace), name)
        check(dataset)
        arrays, packed = pack(dataset)
        read = {} if dataset.time_input is None else {"time_input": asdict(dataset.time_input)}
        new = [a for a in arrays.values() if _whole_file(a, workspace) is None]
        needed = sum(a.nbytes + 128 for a in new)
    with storing(draft.parent, HINT, needed):
        if needed > (free := free_bytes(draft)):
            raise StorageError(f"{name} needs {size(needed)}, {size(free)} are free: {draft.parent}; {HINT}")
        for stem, array in arrays.items():
            _save(draft / f"{stem}.npy", array, workspace)
        del dataset, arrays, new
        shutil.rmtree(workspace)
        paths = sorted(draft.iterdir())
        with ThreadPoolExecutor() as pool:  # the disk writes one file while others are hashed
            synced, digests = pool.map(sync, paths), pool.map(digest, paths)
            entries = dict(zip([p.name for p in paths], digests, strict=True))
            list(synced)
        manifest = {
            **identity,
            "license": source.license,
            "citation": source.citation,
            "dataset": packed,
            **read,
            "files": {n: {"size": d.size, "sha256": d.sha256} for n, d in entries.items()},
        }
        manifest["checksum"] = hashlib.sha256(canonical(manifest).encode()).hexdigest()
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        (draft / "manifest.json").write_text(f"{text}\n", encoding="utf-8", newline="\n")
        for path in (draft / "manifest.json", draft):
            sync(path)


def _save(path: Path, array: Array, workspace: Path) -> None:
    streamed = _whole_file(array, workspace)
    if streamed is None:
        np.save(path, array, allow_pickle=False)
    else:
        streamed.replace(path)


def _whole_file(array: Array, workspace: Path) -> Path | None:
    """The .npy file under `workspace` that holds exactly this array, if there is one: it is moved, not copied."""
    if not isinstance(array, np.memmap) or not array.flags.c_contiguous or array.filename is None:
        return None
    path = Path(array.filename)
    if path.suffix != ".npy" or workspace.resolve() not in path.resolve().parents or not path.exists():
        return None
    whole = np.load(path, mmap_mode="r", allow_pickle=False)
    return path if (whole.shape, whole.dtype) == (array.shape, array.dtype) else None


def _publish(draft: Path, folder: Path) -> None:
    with storing(folder.parent, HINT):
        if folder.exists():  # damaged, or it would have been used
            old = draft.with_name(f"{draft.name}.old.tmp")
            folder.replace(old)
            draft.replace(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            draft.replace(folder)
        sync(folder.parent)


def _sweep(cache: Path, mine: str) -> None:
    """Remove what killed builders left: whoever holds the lock of a folder is its only living builder."""
    for left in cache.glob("*.tmp"):
        owner = re.match(r"(.+-[0-9a-f]{16})\.\d+\.tmp", left.name)
        if owner and (owner[1] == mine or not is_locked(cache / f"{owner[1]}.lock")):
            shutil.rmtree(left, ignore_errors=True)
