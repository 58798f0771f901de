"""Files that are either the old one or the new one, whole."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fmlab.errors import StorageError


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content` or leave it as it was; raises StorageError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"could not write {path} ({len(content):,} bytes): {error.strerror or error}") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace `path` by the mapping as JSON; raises StorageError. NaN is written as null, as JSON has none."""
    write_atomically(path, (json.dumps(_plain(content), indent=2, ensure_ascii=False) + "\n").encode())


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and value != value:
        return None
    return value
