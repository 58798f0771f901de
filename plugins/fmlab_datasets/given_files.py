"""Files that the user names: where they are, and whether they make a split."""

from pathlib import Path

from fmlab.errors import DataError


def split_files(path: str, valid: str, test: str, root: Path) -> list[Path]:
    """The files of the training, validation and test part, those that are given.

    Raises DataError for a missing file, a `valid` without a `test`, and a file that is given twice.
    """
    if valid and not test:
        raise DataError("a given split needs a test part: give test=<file> too")
    files = [locate(p, root) for p in (path, valid, test) if p or p is path]
    if len(set(files)) < len(files):
        raise DataError(f"the parts of a split are different files, got {', '.join(map(str, files))}")
    return files


def locate(path: str, root: Path) -> Path:
    """The file of a table, from the working folder or the root folder; raises DataError."""
    if not path:
        raise DataError("give path=<file>, the table to be read")
    if "://" in path:
        raise DataError(f"a table is a file of this machine, got the address {path}: fetch it first")
    places = [Path(path).expanduser().absolute(), (root / path).absolute()]
    for place in places:
        if place.is_dir():
            raise DataError(f"a table is a file, got the folder {place}")
        if place.is_file():
            return place
    raise DataError(f"the table is not there; looked for it at {', '.join(map(str, dict.fromkeys(places)))}")
