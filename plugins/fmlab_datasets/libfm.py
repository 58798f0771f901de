"""libFM and libFFM files: of your own, and the MovieLens tag set in that form."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from fmlab.data import Dataset, Side
from fmlab.data.encoding.plan import Plan
from fmlab.data.raw.archive import lines
from fmlab.data.raw.fetch import find
from fmlab.data.source import RawFile
from fmlab.errors import DataError, choices
from fmlab.plugin.option import Renamed
from fmlab_datasets.movielens import CITATION, LICENSE
from fmlab_datasets.options import (
    Fields,
    ItemColumn,
    ItemFields,
    MinCount,
    TestFile,
    UserColumn,
    UserFields,
    ValidationFile,
)
from fmlab_datasets.streams import packed, prepared

HEAD = 10_000  # rows from which the kind of each field is found
TAG_ADDRESS = "https://raw.githubusercontent.com/hexiangnan/neural_factorization_machine/master/data/ml-tag/"
PARTS = ("train", "validation", "test")


class LibFM:
    """Files of lines `label index:value ...` (libFM) or `label field:index:value ...` (libFFM), given as options.

    Source: files of yours; the formats are those of S. Rendle's libFM and of Y. Juan's libFFM

    `train` alone is split by the protocol; `valid` and `test` make a given split, in which both are needed.
    In libFM files every row must have the same number of pairs, and the place in the row is the field; in libFFM files
    a field may be missing or hold several features. A field whose index never changes while its value does is
    numeric; elsewhere values must be 1 (`on_on_values=drop` reads any as 1, for files scaled to unit length).
    `fields` names them, in the order of their places or field numbers; `user`, `item` and `item_fields` are such names
    (without names: f0, f1, ...).
    """

    defaults = {"protocol": "ctr"}
    version = "1"
    paths = ("train", "valid", "test")  # options that name raw files
    license = "yours"
    citation = "none"

    def __init__(
        self,
        root: Path,
        *,
        train: Annotated[str, "file of the training part"],
        valid: ValidationFile = "",
        test: TestFile = "",
        fields: Fields = (),
        user: UserColumn = "",
        item: ItemColumn = "",
        user_fields: UserFields = (),
        item_fields: ItemFields = (),
        on_values: Annotated[
            Literal["error", "drop"], "what is done with values other than 1", Renamed("values", {"refuse": "error"})
        ] = "error",
        min_count: MinCount = 1,
    ) -> None:
        """Paths are relative to the root folder, or absolute. Raises DataError for one of `valid` and `test` alone."""
        if bool(valid) != bool(test):
            raise DataError("a given split needs all its parts: give both valid=<file> and test=<file>, or neither")
        self.raw: Sequence[RawFile] = tuple(RawFile(p) for p in (train, valid, test) if p)
        self.roles = _Roles(
            tuple(fields), user, item, tuple(user_fields), tuple(item_fields), on_values == "drop", min_count
        )

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read the parts as one stream."""
        return read("libfm", [(files[raw.path], "") for raw in self.raw], self.roles, workspace)


class MovieLensTag:
    """MovieLens tags as NFM, AFM and IFM use them: 668,953 triples (user, movie, tag), each with two sampled negatives.

    Paper: He, Chua, Neural Factorization Machines for Sparse Predictive Analytics, SIGIR 2017; Hong et al.,
      Interaction-aware Factorization Machines for Recommender Systems, AAAI 2019

    2,006,859 labeled rows, split 70/20/10; keys are feature numbers. The movie is context, the tag is the item.
    """

    defaults = {"protocol": "rating"}
    version = "1"
    license = LICENSE
    citation = CITATION

    def __init__(self, root: Path) -> None:
        """No options."""
        archive = RawFile("ml-tag.zip")
        parts = tuple(RawFile(f"ml-tag/ml-tag.{p}.libfm", (f"{TAG_ADDRESS}ml-tag.{p}.libfm",)) for p in PARTS)
        self.raw: Sequence[RawFile] = (archive,) if find(archive, root, "movielens-tag") else parts

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read the three parts, or the archive that holds them."""
        if len(self.raw) == 1:
            parts = [(files["ml-tag.zip"], f"ml-tag.{p}.libfm") for p in PARTS]
        else:
            parts = [(files[raw.path], "") for raw in self.raw]
        return read("movielens-tag", parts, _Roles(("user", "movie", "tag"), "user", "tag"), workspace)


class _Roles(NamedTuple):
    fields: tuple[str, ...] = ()
    user: str = ""
    item: str = ""
    user_fields: tuple[str, ...] = ()
    item_fields: tuple[str, ...] = ()
    drop: bool = False
    min_count: int = 1


def read(name: str, parts: Sequence[tuple[Path, str]], roles: _Roles, workspace: Path) -> Dataset:
    """The data set of one file, or of the three of a split; raises DataError for rows that break the form."""
    files = [_File(path, member, roles.drop) for path, member in parts]
    places, numeric, several = files[0].kinds()
    names = dict(zip(places, roles.fields or [f"f{p}" for p in places], strict=False))
    if len(names) != len(places):
        raise DataError(f"{parts[0][0]} has {len(places)} fields, {len(roles.fields)} were named")
    for given in (roles.user, roles.item, *roles.user_fields, *roles.item_fields):
        if given and given not in names.values():
            raise DataError(f"there is no field {given!r}; {choices(given, names.values())}")
    sides: dict[str, Side] = dict.fromkeys(names.values(), "context")
    sides |= dict.fromkeys(roles.user_fields, "user")
    sides |= dict.fromkeys(roles.item_fields, "item")
    split = ("train", "valid", "test") if len(files) == 3 else ("",)
    rows = (
        (label, part, *cells)
        for file, part in zip(files, split, strict=True)
        for label, cells in file.rows(places, numeric, several)
    )
    plan = Plan(
        user=roles.user,
        item=roles.item,
        label="label ",  # a name that no field has
        split="part " if len(files) == 3 else "",
        fields={n: side for n, side in sides.items() if n not in (roles.user, roles.item)},
        numeric=tuple(names[p] for p in places if p in numeric),
        multi=tuple(names[p] for p in places if p in several),
        standardize=False,
        min_count=roles.min_count,
    )
    return prepared(name, packed(rows, ("label ", "part ", *names.values()), 1 << 15), plan, workspace)


class _File:
    def __init__(self, path: Path, member: str, drop: bool) -> None:
        self.path, self.member, self.drop = path, member, drop

    def _parsed(self) -> Iterator[tuple[int, str, list[tuple[int, str, str]]]]:
        """Line number, label, and (field, index, value) of each pair."""
        for number, line in enumerate(lines(self.path, self.member), 1):
            label, *pairs = line.split("#")[0].split() or [""]
            if not label:
                continue
            cells = [tuple(p.split(":")) for p in pairs]
            widths = {len(c) for c in cells}
            if widths == {2}:
                yield number, label, [(at, c[0], c[1]) for at, c in enumerate(cells)]
            elif widths == {3} and all(c[0].isdecimal() for c in cells):
                yield number, label, [(int(c[0]), c[1], c[2]) for c in cells]
            else:
                rule = "a row is `label index:value ...` or `label field:index:value ...`"
                raise DataError(f"{rule}: {self.path}, line {number}: {line[:80]!r}")

    def kinds(self) -> tuple[list[int], set[int], set[int]]:
        """The fields, those that are numeric and those with several features, as the first rows show them."""
        indices: dict[int, set[str]] = defaultdict(set)
        changing: dict[int, set[str]] = defaultdict(set)
        several: set[int] = set()
        for _, _, cells in islice(self._parsed(), HEAD):
            fields = [c[0] for c in cells]
            several |= {f for f in fields if fields.count(f) > 1}
            for field, index, value in cells:
                indices[field].add(index)
                changing[field].add(value)
        if not indices:
            raise DataError(f"{self.path} has no rows")
        constant = {f for f, found in indices.items() if len(found) == 1}
        return sorted(indices), {f for f in constant if len(changing[f]) > 1 and f not in several}, several

    def rows(
        self, places: Sequence[int], numeric: set[int], several: set[int]
    ) -> Iterator[tuple[str, list[str | None]]]:
        """Label and cells of every row."""
        at = {place: n for n, place in enumerate(places)}
        for number, label, cells in self._parsed():
            row: list[str | None] = [None] * len(places)
            for field, index, value in cells:
                place = at.get(field)
                if place is None or (row[place] is not None and field not in several):
                    self._refuse(number, f"field {field} is new or repeated here, unlike in the first {HEAD:,} rows")
                    continue
                if field in numeric:
                    row[place] = value
                    continue
                if not self.drop and float(value) != 1:
                    self._refuse(number, f"feature {index} has the value {value}, expected 1 (or on_values=drop)")
                known = row[place]
                row[place] = index if known is None else f"{known}|{index}"
            yield label, row

    def _refuse(self, number: int, reason: str) -> None:
        raise DataError(f"{self.path}, line {number}: {reason}")
