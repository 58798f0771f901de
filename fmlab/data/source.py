"""Where a data set comes from: raw files, and how they are prepared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from fmlab.data.dataset import Dataset


@dataclass(frozen=True)
class RawFile:
    """One raw file: where it is expected under the root folder, and where it can be fetched from.

    `sha256` (or `md5`) is the published checksum, empty if none is. `page` is set when a login is needed:
    the file is then never fetched, and the error names the page and the folder.
    """

    path: str
    urls: tuple[str, ...] = ()
    sha256: str = ""
    md5: str = ""
    page: str = ""


@runtime_checkable
class DataSource(Protocol):
    """What a data plugin gives: the raw files it reads, and how it prepares them.

    `version` changes whenever `build` would give other output for the same files and options. A source whose options
    name raw files lists these options in an attribute `paths`: their content counts, not their names.
    `build` may stream arrays into `workspace` and return memory maps of them.
    """

    raw: Sequence[RawFile]
    version: str
    license: str
    citation: str

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Prepare the data set from `files` (path of `RawFile` -> place on disk)."""
        ...
