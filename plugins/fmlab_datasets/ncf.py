"""The files that He et al. publish with Neural Collaborative Filtering."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fmlab.data import Dataset
from fmlab.data.encoding.plan import Plan
from fmlab.data.raw.archive import lines
from fmlab.data.source import RawFile
from fmlab.errors import DataError
from fmlab_datasets.given_files import locate
from fmlab_datasets.options import TableFile
from fmlab_datasets.streams import packed, prepared

_PART = "\0part"


class NCF:
    """The files of Neural Collaborative Filtering: `<path>.train.rating` and `<path>.test.rating`, tabs between.

    Paper: He et al., Neural Collaborative Filtering, WWW 2017

    A line is user, item, rating and time, without a header. The test has one interaction of each user; of the training
    file the last of each user is the validation. `protocol=composed protocol.by=row
    protocol.candidate_file=<path>.test.negative protocol.n_candidates=99` ranks it among the published negatives. All
    interactions count, whatever their rating.
    """

    defaults = {"protocol": "composed"}
    version = "1"
    paths = ("path",)
    license = "yours"
    citation = "none"

    def __init__(self, root: Path, *, path: TableFile) -> None:
        """`path`: what the names begin with, relative to the working folder, then to the root folder, or absolute."""
        self.raw: Sequence[RawFile] = tuple(
            RawFile(str(locate(f"{path}.{part}.rating", root))) for part in ("train", "test")
        )

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read both files; the training file twice, the first time for the last interaction of each user."""
        train, test = (files[raw.path] for raw in self.raw)
        last: dict[str, tuple[float, int]] = {}
        count: dict[str, int] = {}
        for number, row in enumerate(_ratings(train)):
            count[row[0]] = count.get(row[0], 0) + 1
            if row[0] not in last or float(row[3]) >= last[row[0]][0]:
                last[row[0]] = float(row[3]), number
        held = {number for user, (_, number) in last.items() if count[user] > 1}
        names = ("u", "i", "t", _PART)
        first = ((u, i, t, "valid" if n in held else "train") for n, (u, i, _, t) in enumerate(_ratings(train)))
        second = ((u, i, t, "test") for u, i, _, t in _ratings(test))
        stream = packed((row for part in (first, second) for row in part), names)
        return prepared("ncf", stream, Plan(user="u", item="i", time="t", split=_PART, time_unit="s"), workspace)


def _ratings(path: Path) -> list[list[str]]:
    """Lines of four columns; raises DataError for others."""
    found = []
    for number, line in enumerate(lines(path), 1):
        row = line.split("\t")
        if line.strip() and len(row) != 4:
            raise DataError(
                f"a line must be user, item, rating and time, tabs between: {path}, line {number}: {line[:80]!r}"
            )
        if line.strip():
            found.append([cell.strip() for cell in row])
    return found
