"""A split written to files that other programs read, and that the data sets of fmlab read back."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fmlab.config.overrides import override
from fmlab.contracts import Task
from fmlab.data import Array, Dataset
from fmlab.data.schema import SIDES
from fmlab.errors import DataError
from fmlab.files import write_bytes

Layout = Literal["csv", "adjacency", "inter"]
FILE_NAMES = ("train", "valid", "test")
_ROWS = 1 << 16
SECOND = 1_000_000


def write_split(task: Task, folder: Path, layout: Layout) -> list[Path]:
    """Write the rows of a task's three parts into a folder; gives the files.

    `csv`: train.csv, valid.csv and test.csv with a column of every field as in the raw data, and `label`, `time` in
    microseconds since 1970 and `row`, by which `fmlab evaluate` takes scores. `adjacency`: lines `user item item ...`
    in files of the endings .txt, as NGCF and LightGCN read them. `inter`: files as RecBole reads them, with
    `benchmark_filename: [train, valid, test]`. Raises DataError where rows lack what a layout needs.
    """
    rows = [task.training.rows, *(_judged(task, part) for part in ("validation", "test"))]
    made = []
    for name, part in zip(FILE_NAMES, rows, strict=True):
        ending = {"csv": "csv", "adjacency": "txt", "inter": "inter"}[layout]
        path = folder / (f"{task.dataset.name}.{name}.inter" if layout == "inter" else f"{name}.{ending}")
        write = {"csv": _csv, "adjacency": _adjacency, "inter": _inter}[layout]
        write_bytes(path, b"".join(write(task.dataset, np.sort(part))))
        made.append(path)
    return made


def reading_options(data: Dataset, files: Sequence[Path], layout: Layout) -> list[str]:
    """Options by which a run, or `fmlab evaluate`, reads the files of `write_split`; their roles and kinds are said."""
    named = dict(zip(("path", "valid", "test"), map(str, files), strict=True))
    if layout != "csv":
        named = {"data": {"adjacency": "adjacency", "inter": "recbole"}[layout]} | named
        return [override("data" if key == "data" else f"data.{key}", value) for key, value in named.items()]
    columns = list(_columns(data, np.arange(min(1, data.rows))))
    roles: dict[str, Any] = {r: r for r in ("user", "item", "label", "time") if r in columns}
    roles |= {"time_unit": "us"} if "time" in roles else {}
    fields = [f for f in data.schema.fields if f.name in columns and f.name not in roles]
    for side in SIDES:
        roles[f"{side}_fields"] = [f.name for f in fields if f.side == side]
    for kind in ("categorical", "multi-valued", "numeric"):
        roles[kind.replace("-", "_")] = [f.name for f in fields if f.kind == kind]
    given = {**named, **roles, "drop_columns": ["row"]}
    return ["data=csv", *(override(f"data.{key}", value) for key, value in given.items() if value)]


def _judged(task: Task, part: str) -> Array:
    rows = getattr(getattr(task, part), "rows", None)
    if not isinstance(rows, np.ndarray):
        raise DataError(f"this protocol does not say which rows its {part} has: its split cannot be written")
    return np.unique(rows)


def _csv(data: Dataset, rows: Array) -> Iterator[bytes]:
    import pandas as pd

    for number, piece in enumerate(np.array_split(rows, len(rows) // _ROWS + 1)):
        frame = pd.DataFrame(_columns(data, piece))
        yield frame.to_csv(index=False, header=number == 0, lineterminator="\n").encode()


def _columns(data: Dataset, rows: Array) -> Mapping[str, Any]:
    """Raw values of the rows by field; user and item first where rows have them."""
    found: dict[str, Any] = {}
    for side, index in (("user", data.user), ("item", data.item)):
        if index is not None and side in data.keys:
            found[side] = _texts(data.keys[side])[np.asarray(index[rows])]
    table = data.row_ids(rows)
    for number, field in enumerate(data.schema.fields):
        if field.name in found or field.side not in ("user", "context", "item"):
            continue
        at = [c for c, f in enumerate(data.schema.column_field) if f == number]
        if not at:
            continue
        if field.numeric:
            assert table.values is not None
            there = table.ids[:, at[0]] != data.schema.offsets[number]
            found[field.name] = np.where(there, table.values[:, at[0]].astype(object), "")
            continue
        names = np.r_[_texts([""]), _texts(data.keys[field.name])]
        texts = names[table.ids[:, at] - data.schema.offsets[number]]
        found[field.name] = texts[:, 0] if len(at) == 1 else ["|".join(t for t in row if t) for row in texts]
    if data.label is not None:
        found["label"] = np.asarray(data.label[rows])
    if data.time is not None:
        found["time"] = np.asarray(data.time[rows])
    return found | {"row": rows}


def _adjacency(data: Dataset, rows: Array) -> Iterator[bytes]:
    user, item, users, items = _pairs(data, rows)
    if wrong := next(
        (n for n in (*users[np.unique(user)], *items[np.unique(item)]) if not n or len(n.split()) > 1), None
    ):
        raise DataError(f"names in adjacency lists have no blanks, got {wrong!r}: layout=csv takes them")
    time = np.zeros(len(rows)) if data.time is None else np.asarray(data.time[rows])
    order = np.lexsort((time, user))
    ends = np.flatnonzero(np.r_[user[order][1:] != user[order][:-1], True]) + 1
    for low, high in zip(np.r_[0, ends[:-1]], ends, strict=True):
        yield " ".join([users[user[order[low]]], *items[item[order[low:high]]]]).encode() + b"\n"


def _inter(data: Dataset, rows: Array) -> Iterator[bytes]:
    user, item, users, items = _pairs(data, rows)
    columns: list[tuple[str, Any]] = [("user_id:token", users[user]), ("item_id:token", items[item])]
    if data.label is not None:
        columns.append(("rating:float", np.asarray(data.label[rows])))
    if data.time is not None:
        columns.append(("timestamp:float", np.asarray(data.time[rows]) / SECOND))
    yield ("\t".join(name for name, _ in columns) + "\n").encode()
    for values in zip(*(c for _, c in columns), strict=True):
        texts = [v if isinstance(v, str) else f"{v:.15g}" for v in values]
        if any(set(t) & set("\t\n\r") for t in texts):
            raise DataError(f"names in an .inter file have no tabs, got {texts[:2]}: layout=csv takes them")
        yield ("\t".join(texts) + "\n").encode()


def _pairs(data: Dataset, rows: Array) -> tuple[Array, Array, Array, Array]:
    if data.user is None or data.item is None:
        raise DataError(f"rows of users and items are needed, {data.name!r} has none: layout=csv takes any rows")
    users, items = (_texts(data.keys[side]) for side in ("user", "item"))
    return np.asarray(data.user[rows]), np.asarray(data.item[rows]), users, items


def _texts(keys: Any) -> Array:
    """Names as objects, one text each."""
    return np.array([str(key) for key in np.asarray(keys).tolist()], dtype=object)
