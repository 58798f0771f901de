"""Where a study is kept: a journal file, or a database by URL."""

import logging
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage

from fmlab.errors import FmlabError, StorageError
from fmlab.redaction import redacted
from fmlab.sweep.journal import SafeJournal

_REMOTE = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs")
_WAIT = 60  # seconds a SQLite writer waits for the others


def locate(storage: str | None, folder: Path) -> str:
    """The URL of a study's storage: paths, and null for the journal in the sweep's folder, become `journal://`."""
    if storage is None:
        return f"journal://{(folder / 'study.journal').absolute()}"
    if "://" not in storage:
        return f"journal://{Path(storage).absolute()}"
    return storage


def open_storage(url: str) -> BaseStorage:
    """The storage at a URL of `locate`; raises FmlabError or StorageError."""
    scheme, _, rest = url.partition("://")
    if scheme == "journal":
        return JournalStorage(SafeJournal(Path(rest)))
    if scheme == "grpc":
        return _proxy(rest)
    if scheme == "sqlite":
        _refuse_remote(rest.lstrip("/") if not rest.startswith("//") else rest[1:])
    try:
        return _sqlite(url) if scheme == "sqlite" else RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    except ImportError as error:
        raise FmlabError(f"storage {shown(url)} needs a package: {error.__cause__ or error}") from error
    except Exception as error:  # each database driver has its own errors
        raise StorageError(f"storage {shown(url)} cannot be opened: {_short(error)}") from error


def _sqlite(url: str) -> RDBStorage:
    """SQLite whose transactions lock before they read, so that of two workers one gets a trial, not both."""
    from sqlalchemy import event

    storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _WAIT}})

    def manual(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    storage.engine.dispose()
    event.listen(storage.engine, "connect", manual)
    event.listen(storage.engine, "begin", begin)
    return storage


def _proxy(address: str) -> BaseStorage:
    host, _, port = address.strip("/").rpartition(":")
    if not host or not port.isdigit():
        raise FmlabError(f"a gRPC storage must be grpc://host:port, got grpc://{address}")
    try:
        return GrpcStorageProxy(host=host, port=int(port))
    except ImportError:
        raise FmlabError("a gRPC storage needs packages: pip install grpcio protobuf") from None


def _refuse_remote(path: str) -> None:
    kind = _file_system(Path(path).absolute())
    if kind in _REMOTE:
        raise FmlabError(
            f"SQLite must be on a local disk, {path} is on {kind}, where its locks do not hold; "
            f"use a journal: storage={Path(path).with_suffix('.journal')}"
        )


def _file_system(path: Path) -> str:
    """Type of the file system that holds a path, or empty."""
    try:
        lines = Path("/proc/mounts").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    mounts = {line.split()[1]: line.split()[2] for line in lines if len(line.split()) > 2}
    return next((mounts[str(p)] for p in (path, *path.parents) if str(p) in mounts), "")


def shown(url: str) -> str:
    """The URL without its password."""
    return str(redacted(url))


def _short(error: BaseException) -> str:
    return " ".join(str(error.__cause__ or error).split())[:300]
