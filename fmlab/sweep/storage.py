"""Where a study is kept: a journal file, or a database by URL."""

import fcntl
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage

from fmlab.errors import FmlabError, StorageError
from fmlab.files import storing
from fmlab.sweep.journal import SafeJournal
from fmlab.terminal.redaction import hidden, hidden_message

_REMOTE = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs")
_WAIT = 60  # seconds a SQLite writer waits for the others


def locate(storage: str | None, folder: Path) -> str:
    """The URL of a study's storage: paths, and null for the journal in the sweep's folder, become `journal://`."""
    if storage is None:
        return f"journal://{(folder / 'study.journal').absolute()}"
    if "://" not in storage:
        return f"journal://{Path(storage).absolute()}"
    return storage


class Store(NamedTuple):
    """A storage, and what makes reading and then changing a trial's state one step where the storage does not."""

    backend: BaseStorage
    exclusive: Callable[[], AbstractContextManager[None]] = nullcontext


def open_storage(url: str) -> Store:
    """The storage at a URL of `locate`; raises FmlabError or StorageError."""
    scheme, _, rest = url.partition("://")
    if scheme == "journal":
        return Store(JournalStorage(SafeJournal(Path(rest))))
    if scheme == "grpc":
        return Store(_proxy(rest))
    try:
        if scheme == "sqlite":
            return _sqlite(url, Path(rest.removeprefix("/")).absolute())
        return Store(_connected(url, {"pool_pre_ping": True}))
    except ImportError as error:
        raise FmlabError(f"storage {shown(url)} needs a package: {error.__cause__ or error}") from error
    except FmlabError:
        raise
    except Exception as error:  # each database driver has its own errors
        raise StorageError(f"storage {shown(url)} cannot be opened: {_short(error)}") from error


def _sqlite(url: str, path: Path) -> Store:
    """SQLite with a write-ahead log, which survives killed writers and lets others read meanwhile.

    It has no row locks: two workers could both find a trial waiting and both start it. A kernel lock beside the file
    keeps them apart; the file is on this host, and so are they.
    """
    from sqlalchemy import event

    _refuse_remote(path)
    with _locked(lock := path.with_name(f"{path.name}.lock")):
        storage = _connected(url, {"connect_args": {"timeout": _WAIT}})

    def prepare(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    storage.engine.dispose()
    event.listen(storage.engine, "connect", prepare)
    return Store(storage, lambda: _locked(lock))


def _connected(url: str, options: dict[str, Any]) -> RDBStorage:
    """The database, its tables made if need be; of two processes that make them at once, one has to try again."""
    for pause in (0.5, 1.0, 2.0):
        try:
            return RDBStorage(url, engine_kwargs=options)
        except ImportError:
            raise
        except Exception:
            time.sleep(pause)
    return RDBStorage(url, engine_kwargs=options)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with storing(path.parent):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _proxy(address: str) -> BaseStorage:
    host, _, port = address.strip("/").rpartition(":")
    if not host or not port.isdigit():
        raise FmlabError(f"a gRPC storage must be grpc://host:port, got grpc://{address}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls it experimental
            return GrpcStorageProxy(host=host, port=int(port))
    except ImportError:
        raise FmlabError("a gRPC storage needs packages: pip install grpcio protobuf") from None


def _refuse_remote(path: Path) -> None:
    kind = _file_system(path)
    if kind in _REMOTE:
        raise FmlabError(
            f"SQLite must be on a local disk, {path} is on {kind}, where its locks do not hold; "
            f"use a journal: storage={path.with_suffix('.journal')}"
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
    return hidden(url)


def _short(error: BaseException) -> str:
    return hidden_message(" ".join(str(error.__cause__ or error).split()))[:300]
