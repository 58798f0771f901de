"""Adjacency lists, a user and its items on each line: Gowalla and other sets of that form, and files of your own."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from fmlab.data import Dataset
from fmlab.data.encoding.plan import Plan
from fmlab.data.raw.archive import lines, opened
from fmlab.data.source import RawFile
from fmlab.errors import DataError
from fmlab_datasets.given_files import locate, split_files
from fmlab_datasets.options import Seed, TableFile, TestFile, ValidationFile, ValidationShare
from fmlab_datasets.python_literals import text
from fmlab_datasets.streams import Cells, joined, packed, prepared

LIGHTGCN = "https://raw.githubusercontent.com/kuandeng/LightGCN/master/Data/gowalla/"


def pairs(path: Path, member: str = "") -> Iterator[tuple[str, str]]:
    """User and item of every interaction in a file of lines `user item item ...`; raises DataError for other lines.

    A user without items (`user` alone) has none; items are in the order of the line.
    """
    some = False
    for number, line in enumerate(lines(path, member), 1):
        user, *items = line.split() or [""]
        if line.startswith("<") or any(c in line for c in ",;{"):
            raise DataError(
                f"every line must be `user item item ...`, separated by blanks: {path}, line {number}: {line[:80]!r}"
            )
        for item in items:
            some = True
            yield user, item
    if not some:
        raise DataError(f"{path} holds no interactions")


def item_attributes(path: Path) -> dict[str, str | None]:
    """The attributes of each item as a cell (`fmlab.data.raw.cells`), of a JSON object `{item: [attribute, ...]}`."""
    with opened(path) as file:
        try:
            listed: Any = json.load(file)
            return {item: text(list(attributes)) for item, attributes in listed.items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise DataError(f"{path} must hold one JSON object, item -> list of attributes: {error}") from error


class Adjacency:
    """Adjacency lists of your own: lines `user item item ...`, and if you have it a second file with the test.

    Source: files of yours.

    Items of a line are taken to be in the user's order of time (leave-one-out needs it). With `test`, the validation
    part is the file `valid`, or, without one, a seeded share `validation` of the other file's interactions.
    `attributes` is a JSON file
    `{item: [attribute, ...]}`, of which the items get a multi-valued field `attributes`.
    """

    defaults = {"protocol": "full_ranking"}
    version = "1"
    paths = ("path", "valid", "test")  # options that name raw files
    license = "yours"
    citation = "none"

    def __init__(
        self,
        root: Path,
        *,
        path: TableFile,
        valid: ValidationFile = "",
        test: TestFile = "",
        attributes: Annotated[str, "file with the attributes of items; empty for none"] = "",
        validation: ValidationShare = 0.1,
        seed: Seed = 0,
    ) -> None:
        """Paths are relative to the working folder, then to the root folder, or absolute.

        Raises DataError for a missing file, and for a `valid` without a `test`.
        """
        files = split_files(path, valid, test, root) + ([locate(attributes, root)] if attributes else [])
        self.raw: Sequence[RawFile] = tuple(RawFile(str(p)) for p in files)
        self.validation, self.seed, self.attributed = validation, seed, bool(attributes)

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read one file, two or three."""
        paths = [files[raw.path] for raw in self.raw]
        extra = {"attributes": item_attributes(paths.pop())} if self.attributed else {}
        return adjacency("adjacency", paths, workspace, self.validation, self.seed, extra)


class Gowalla:
    """Gowalla check-ins as NGCF and LightGCN split them, 10-core.

    Paper: Wang et al., Neural Graph Collaborative Filtering, SIGIR 2019; check-ins of Cho, Myers, Leskovec, KDD 2011

    `train.txt` and `test.txt` are theirs; they have no validation part, so a seeded share `validation` of the
    training interactions becomes one.
    """

    defaults = {"protocol": "full_ranking"}
    version = "1"
    license = "none stated"
    citation = "E. Cho, S. A. Myers, J. Leskovec: Friendship and Mobility, KDD 2011; X. Wang et al., SIGIR 2019"

    def __init__(
        self,
        root: Path,
        *,
        validation: ValidationShare = 0.1,
        seed: Seed = 0,
    ) -> None:
        """`validation` is a share of the training interactions."""
        self.raw: Sequence[RawFile] = tuple(RawFile(f"gowalla/{p}", (LIGHTGCN + p,)) for p in ("train.txt", "test.txt"))
        self.validation, self.seed = validation, seed

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read both parts."""
        return adjacency("gowalla", list(files.values()), workspace, self.validation, self.seed)


def adjacency(
    name: str,
    files: Sequence[Path],
    workspace: Path,
    validation: float,
    seed: int,
    extra: Mapping[str, Cells] | None = None,
) -> Dataset:
    """The data set of a file, or of the files of training and test; `extra` are multi-valued fields of the items."""
    added = extra or {}
    plan = Plan(user="u", item="i", fields=dict.fromkeys(added, "item"), multi=tuple(added))
    if len(files) == 1:
        return prepared(name, joined(packed(pairs(files[0]), ("u", "i")), "i", added), plan, workspace)
    draw = np.random.default_rng(seed)
    train, *held, test = files
    share = 0.0 if held else validation
    rows = ((u, i, "valid" if draw.random() < share else "train") for u, i in pairs(train))
    others = [((u, i, "valid") for u, i in pairs(file)) for file in held] + [((u, i, "test") for u, i in pairs(test))]
    stream = packed((row for part in (rows, *others) for row in part), ("u", "i", "part"))
    return prepared(name, joined(stream, "i", added), replace(plan, split="part"), workspace)
