"""Test items and their sampled candidates in a file, to be ranked by other models, at other times, by other programs.

A line is `(user,item)`, the candidates after it, and tabs between them: the form that He et al. publish with Neural
Collaborative Filtering (WWW 2017).
"""

import gzip
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fmlab.data import Array, Dataset
from fmlab.data.raw.archive import lines
from fmlab.data.split import sides
from fmlab.errors import DataError
from fmlab.files import write_bytes


class Listed(NamedTuple):
    """Test rows int64[n] of a data set, and candidates int64[n, k] for each."""

    rows: Array
    items: Array


def names(dataset: Dataset, compact: bool) -> tuple[list[str], list[str]]:
    """What users and items are called in the file, by number; `compact` counts them by first appearance in the rows."""
    sides(dataset)
    found: list[list[str]] = []
    for side, index in (("user", dataset.user), ("item", dataset.item)):
        keys = [str(k) for k in dataset.keys[side].tolist()]
        if compact:
            numbers, first = np.unique(np.asarray(index), return_index=True)
            order = numbers[np.argsort(first)]
            place = dict(zip(order.tolist(), range(len(order)), strict=True))
            keys = [str(place.get(n, f"absent {n}")) for n in range(len(keys))]
        found.append(keys)
    return found[0], found[1]


def renamed(dataset: Dataset, before: Dataset, called: tuple[list[str], list[str]]) -> tuple[list[str], list[str]]:
    """The names for the users and items of a data set that were left of those `before`."""
    out = []
    for side, own in zip(("user", "item"), called, strict=True):
        known = dict(zip(before.keys[side].tolist(), own, strict=True))
        out.append([known[k] for k in dataset.keys[side].tolist()])
    return out[0], out[1]


def read(path: Path, dataset: Dataset, called: tuple[list[str], list[str]]) -> Listed:
    """The test rows and candidates that a file lists; raises DataError naming the first line that does not fit."""
    user, item = sides(dataset)
    users, items = ({name: n for n, name in enumerate(own)} for own in called)
    place = {pair: n for n, pair in enumerate(zip(user.tolist(), item.tolist(), strict=True))}
    rows: dict[int, int] = {}
    drawn: list[list[int]] = []
    for number, line in enumerate(lines(path), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        head, *others = line.split("\t")
        who, comma, what = head.strip().removeprefix("(").removesuffix(")").rpartition(",")
        if not comma or not others:
            raise DataError(f"a line must be `(user,item)` and candidates after it, separated by tabs: {where}")
        u, i = _known(users, who, "user", where), _known(items, what, "item", where)
        if (row := place.get((u, i))) is None:
            raise DataError(f"the test item must be an interaction of its user: {where} has {head}")
        if u in rows:
            raise DataError(f"a user has one test item, {who!r} has a second one: {where}")
        rows[u] = row
        drawn.append([_known(items, other, "item", where) for other in others])
        if len(drawn[-1]) != len(drawn[0]):
            got = f"{len(drawn[-1])} after {len(drawn[0])}"
            raise DataError(f"every line must have as many candidates, got {got}: {where}")
    if not rows:
        raise DataError(f"{path} lists no test items")
    return Listed(np.array(list(rows.values())), np.array(drawn))


def write(path: Path, dataset: Dataset, listed: Listed) -> None:
    """The file that `read` reads, with users and items called as in the raw data; raises StorageError."""
    user, item = sides(dataset)
    users, items = ([str(k) for k in dataset.keys[side].tolist()] for side in ("user", "item"))
    if wrong := [n for n in users if set(n) & set("\t\n\r")] + [n for n in items if set(n) & set("\t\n\r,")]:
        raise DataError(f"names in a candidate file have no tab, and those of items no comma; got {wrong[0]!r}")
    pairs = zip(user[listed.rows].tolist(), item[listed.rows].tolist(), listed.items.tolist(), strict=True)
    text = "".join(f"({users[u]},{items[i]})\t" + "\t".join(items[c] for c in others) + "\n" for u, i, others in pairs)
    data = text.encode()
    write_bytes(path, gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def checksum(path: Path) -> str:
    """Of the text, packed or not."""
    text = hashlib.sha256()
    for line in lines(path):
        text.update(f"{line}\n".encode())
    return text.hexdigest()[:12]


def _known(numbers: Mapping[str, int], name: str, what: str, where: str) -> int:
    if (number := numbers.get(name, numbers.get(name.strip()))) is None:
        shown: Sequence[str] = list(numbers)[:3]
        rule = f"the data set has no {what} {name.strip()!r} (it has {', '.join(shown)}, ...)"
        raise DataError(f"{rule}: {where}; protocol.candidate_ids=compact counts them by first appearance")
    return number
