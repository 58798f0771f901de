"""units.npz of a run, which may be damaged or foreign: numbers by row, nothing else, and of bounded size."""

import stat
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fmlab.data import Array

_LARGEST = 2 << 30  # bytes of the arrays, unpacked
_MEMBERS = 1000


def unit_names(path: Path) -> set[str]:
    """The names of the arrays; raises ValueError with what is wrong with the file."""
    return set(_load(path, ()))


def read_units(path: Path, names: Sequence[str] | None = None) -> dict[str, Array]:
    """The arrays of `names`, or all, each of one number a row; raises ValueError with what is wrong with the file."""
    units = {name: values for name, values in _load(path, names).items() if values is not None}
    _check(path, units)
    return units


def _load(path: Path, names: Sequence[str] | None) -> dict[str, Array | None]:
    """All names, with the arrays of those that are asked for, and of the rows."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("it is not a plain file")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        size = sum(m.file_size for m in members)
        if size > _LARGEST or len(members) > _MEMBERS:
            raise ValueError(f"it would unpack to {size:,} bytes in {len(members):,} arrays")
        with np.load(path, allow_pickle=False, max_header_size=10_000) as file:
            return {n: file[n] if names is None or n in names or (names and n == "row") else None for n in file.files}
    except Exception as error:  # whatever a malformed archive makes zipfile, zlib and numpy raise
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from error


def _check(path: Path, units: Mapping[str, Array]) -> None:
    rows = units.get("row")
    if not isinstance(rows, np.ndarray) or rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise ValueError(f"{path} must hold the numbers of its rows, 'row'")
    for name, values in units.items():
        if not isinstance(values, np.ndarray) or values.shape != rows.shape or values.dtype.kind not in "iufb":
            got = f"{values.dtype} of the shape {values.shape}" if isinstance(values, np.ndarray) else "no array"
            raise ValueError(f"{path}: {name} must be one number for each of {len(rows):,} rows, got {got}")
    if "user" in units and units["user"].dtype.kind not in "iu":
        raise ValueError(f"{path}: user must be whole numbers, got {units['user'].dtype}")
