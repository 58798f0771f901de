"""Atomic files of RecBole: typed columns of interactions, users and items."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from fmlab.data import Dataset, Side
from fmlab.data.encoding.plan import Plan
from fmlab.data.raw.archive import lines
from fmlab.data.raw.table import TableFormat
from fmlab.data.source import RawFile
from fmlab.errors import DataError, choices
from fmlab_datasets.given_files import locate, split_files
from fmlab_datasets.options import (
    Fields,
    ItemColumn,
    LabelColumn,
    Seed,
    TableFile,
    TestFile,
    TimeColumn,
    UserColumn,
    ValidationFile,
    ValidationShare,
    chosen_fields,
)
from fmlab_datasets.streams import Stream, attributes, constant, drawn, joined, prepared, table

_TYPES = ("token", "token_seq", "float", "float_seq")
_FORM = TableFormat(separator="\t", quoted=False)
_PART = "\0part"


class RecBole:
    """Files that RecBole reads: `.inter`, and perhaps `.user` and `.item`, with columns such as `user_id:token`.

    Source: Zhao et al., RecBole: Towards a Unified, Comprehensive and Efficient Framework for Recommendation
      Algorithms, CIKM 2021, atomic files

    `path` is the .inter file, or that of the training; `valid` and `test` are those of a split (its
    `benchmark_filename`). With `test` alone a seeded share `validation` of the other file is the validation. `users`
    and `items` are the .user and .item files. `label` and `time` name columns without their type; the column `rating`,
    or `label`, is the label and `timestamp`, in seconds, the time, where there are such columns and nothing else is
    given; `label=none` reads no label. Columns `token` are categorical, `token_seq` multi-valued, `float` numeric;
    `float_seq` is left out. `fields` names the ones to use; all of them otherwise.
    """

    defaults = {"protocol": "composed"}
    version = "1"
    paths = ("path", "valid", "test", "users", "items")  # options that name raw files
    license = "yours"
    citation = "none"

    def __init__(
        self,
        root: Path,
        *,
        path: TableFile,
        valid: ValidationFile = "",
        test: TestFile = "",
        users: Annotated[str, "number of users"] = "",
        items: Annotated[str, "number of items"] = "",
        user: UserColumn = "user_id",
        item: ItemColumn = "item_id",
        label: LabelColumn = "",
        time: TimeColumn = "",
        fields: Fields = (),
        validation: ValidationShare = 0.1,
        seed: Seed = 0,
    ) -> None:
        """Paths are relative to the working folder, then to the root folder, or absolute.

        Raises DataError for a missing file, and for a `valid` without a `test`.
        """
        self.interactions = [str(p) for p in split_files(path, valid, test, root)]
        self.entities = {s: str(locate(p, root)) for s, p in (("user", users), ("item", items)) if p}
        self.raw: Sequence[RawFile] = tuple(RawFile(p) for p in (*self.interactions, *self.entities.values()))
        self.names, self.label, self.time = {"user": user, "item": item}, label, time
        self.fields, self.validation, self.seed = tuple(fields), validation, seed

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read all files."""
        paths = [files[p] for p in self.interactions]
        kinds = columns_of(paths[0])
        label = self._role(kinds, self.label, ("rating", "label"), paths[0])
        time = self._role(kinds, self.time, ("timestamp",), paths[0])
        taken = {*self.names.values(), label, time}
        sides: dict[str, tuple[Side, str]] = {n: ("context", k) for n, k in kinds.items() if n not in taken}
        known = {}
        for side, name in self.entities.items():
            more, key = columns_of(files[name]), self.names[side]
            own = {n: k for n, k in more.items() if n != key and k != "float_seq" and self._wanted(n)}
            if twice := set(own) & set(sides):
                raise DataError(f"{files[name]}: {sorted(twice)[0]!r} is a column of the interactions too: rename one")
            chosen = {f"{n}:{more[n]}": n for n in (key, *own)}
            known[side] = attributes(table(files[name], chosen, _FORM), key)
            sides |= {n: ("user" if side == "user" else "item", k) for n, k in own.items()}
        sides = {n: s for n, s in sides.items() if s[1] != "float_seq" and self._wanted(n)}
        chosen_fields(self.fields, sides, "the file")  # refuses an unknown one
        read = {f"{n}:{kinds[n]}": n for n in kinds if n in taken or (n in sides and sides[n][0] == "context")}
        stream = self._rows(paths, read)
        for side, found in known.items():
            stream = joined(stream, self.names[side], {n: found[n] for n in found if n in sides})
        plan = Plan(
            user=self.names["user"],
            item=self.names["item"],
            label=label,
            time=time,
            split=_PART if len(paths) > 1 else "",
            fields={n: side for n, (side, _) in sides.items()},
            numeric=tuple(n for n, (_, kind) in sides.items() if kind == "float"),
            multi=tuple(n for n, (_, kind) in sides.items() if kind == "token_seq"),
            list_separator=" ",
            time_unit="s" if time == "timestamp" else "",
        )
        return prepared("recbole", stream, plan, workspace)

    def _wanted(self, name: str) -> bool:
        return not self.fields or name in self.fields

    def _rows(self, paths: Sequence[Path], read: Mapping[str, str]) -> Stream:
        """Interactions of all files, with the part of each if they are parts."""
        parts = {1: ("",), 2: ("drawn", "test"), 3: ("train", "valid", "test")}[len(paths)]
        for path, part in zip(paths, parts, strict=True):
            stream = table(path, read, _FORM)
            if part == "drawn":
                stream = drawn(stream, _PART, {"valid": self.validation}, "train", self.seed)
            elif part:
                stream = constant(stream, _PART, part)
            yield from stream

    def _role(self, kinds: Mapping[str, str], asked: str, usual: Sequence[str], path: Path) -> str:
        """The column of a role: as asked, or the first usual one that is there; empty for none."""
        for name in self.names.values():
            if name not in kinds:
                raise DataError(f"{path} has no column {name!r}; {choices(name, kinds)}")
        if asked and asked != "none" and asked not in kinds:
            raise DataError(f"{path} has no column {asked!r}; {choices(asked, kinds)}")
        if asked:
            return "" if asked == "none" else asked
        return next((name for name in usual if name in kinds), "")


def columns_of(path: Path) -> dict[str, str]:
    """Type of each column by its name, of the first line of an atomic file; raises DataError for another form."""
    found = {}
    for cell in next(iter(lines(path)), "").rstrip("\r\n").split("\t"):
        name, colon, kind = cell.rpartition(":")
        if not colon or kind not in _TYPES:
            rule = f"columns of an atomic file are named name:type, the types are {', '.join(_TYPES)}"
            raise DataError(f"{rule}; {path} has {cell[:80]!r}")
        found[name] = kind
    return found
