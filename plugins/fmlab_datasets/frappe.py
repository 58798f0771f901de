"""Frappe: which app was used in which context; the log itself, or the labeled splits made from it."""

import logging
import re
from collections.abc import Mapping, Sequence
from hashlib import md5
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from fmlab.data import Array, Dataset, Side
from fmlab.data.raw.archive import opened
from fmlab.data.raw.fetch import find
from fmlab.data.source import RawFile
from fmlab.errors import DataError
from fmlab.plugin.option import Renamed
from fmlab_datasets.published import published
from fmlab_datasets.tables import Column, assemble, category, counted, identity

log = logging.getLogger(__name__)
COLUMNS = ("user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")
CONTEXT = COLUMNS[2:]
MEMBERS = {"x1": ("train.csv", "valid.csv", "test.csv")}
MEMBERS["libfm"] = ("frappe.train.libfm", "frappe.validation.libfm", "frappe.test.libfm")
X1_MD5 = ("ba7306e6c4fc19dd2cd84f2f0596d158", "88d51bf2173505436d3a8f78f2a59da8", "3470f6d32713dc5f7715f198ca7c612a")
X1 = RawFile(
    "Frappe_x1.zip",
    (
        "https://huggingface.co/datasets/reczoo/Frappe_x1/resolve/main/Frappe_x1.zip",
        "https://zenodo.org/record/5700987/files/Frappe_x1.zip",
    ),
)
LIBFM = RawFile("frappe_libfm.zip")
LIBFM_ADDRESS = "https://raw.githubusercontent.com/hexiangnan/neural_factorization_machine/master/data/frappe/"
LOG = RawFile("Mobile_Frappe.zip", page="http://baltrunas.info/research-menu/frappe")


class Frappe:
    """Frappe: 96,203 app uses of 957 users and 4,082 apps in 8 context fields, 5,382 features.

    Paper: Baltrunas, Church, Karatzoglou, Oliver: Frappe: Understanding the Usage and Perception of Mobile App
        Recommendations In-The-Wild, arXiv 2015

    `layout=x1` and `layout=libfm` are the 288,609 labeled rows (two sampled negatives for each use, 70/20/10) that
    NFM, AFM, IFM and open benchmarks use, with their split; their keys are feature numbers. `layout=raw` is the log:
    all rows are positives, keys are the values as written.
    """

    defaults = {"protocol": "ctr"}
    version = "1"
    license = "research use with citation, no redistribution, no commercial use without permission"
    citation = "L. Baltrunas, K. Church, A. Karatzoglou, N. Oliver: Frappe, arXiv:1505.03014, 2015"

    def __init__(
        self,
        root: Path,
        *,
        layout: Annotated[
            Literal["x1", "libfm", "raw"], "which of the published files are read", Renamed("form")
        ] = "x1",
    ) -> None:
        """`layout` chooses the files."""
        self.layout = layout
        single = tuple(RawFile(part, (LIBFM_ADDRESS + part,)) for part in MEMBERS["libfm"])
        libfm = (LIBFM,) if find(LIBFM, root, "frappe") else single
        self.raw: Sequence[RawFile] = {"x1": (X1,), "libfm": libfm, "raw": (LOG,)}[layout]

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read the labeled parts, or the log."""
        if self.layout == "raw":
            return _dataset(_read_log(files[LOG.path]), None, None)
        read = _read_x1 if self.layout == "x1" else _read_libfm
        only = next(iter(files.values())) if len(files) == 1 else None
        parts = [read(only or files[part], part if only else "") for part in MEMBERS[self.layout]]
        rows = np.concatenate(parts)
        split = np.repeat(np.arange(3, dtype=np.int8), [len(p) for p in parts])
        values = {name: rows[:, n] for n, name in enumerate(COLUMNS, 1)}
        return _dataset(values, (rows[:, 0] > 0).astype(np.float32), split)


def _dataset(values: Mapping[str, Array], label: Array | None, split: Array | None) -> Dataset:
    coded = {name: _coded(name, column) for name, column in values.items()}
    user, item = (coded[side].codes[:, 0] - 1 for side in ("user", "item"))
    sides: dict[Side, Sequence[Column]] = {
        "user": [identity("user", coded["user"].keys)],
        "context": [coded[name] for name in CONTEXT],
        "item": [identity("item", coded["item"].keys)],
    }
    schema, tables, keys = assemble(sides)
    return Dataset(
        name="frappe",
        schema=schema,
        rows=len(user),
        user=user,
        item=item,
        users=tables["user"],
        items=tables["item"],
        context=tables["context"],
        label=label,
        split=split,
        steps=(counted("all rows", schema, len(user)),),
        keys=keys,
        published=published("frappe"),
    )


def _coded(name: str, column: Array) -> Column:
    """Keys sorted: as numbers if all of them are."""
    if column.dtype.kind == "i":
        keys, codes = np.unique(column, return_inverse=True)
        return Column(name, (codes + 1).astype(np.int32)[:, None], [str(k) for k in keys.tolist()])
    values = column.tolist()
    numbers = all(v.isdecimal() for v in values)
    return category(name, values, sorted(set(values), key=int if numbers else None))


def _read_x1(path: Path, member: str) -> Array:
    """`label,user,item,...` with a header line."""
    with opened(path, member) as file:
        data = file.read()
    expected = X1_MD5[MEMBERS["x1"].index(member)]
    if (got := md5(data, usedforsecurity=False).hexdigest()) != expected:
        log.warning("%s is not the published file: md5 %s expected, got %s", member, expected, got)
    header, _, body = data.partition(b"\n")
    names = header.strip().decode("utf-8-sig", "replace").split(",")
    if names != ["label", *COLUMNS]:
        raise DataError(f"{member} must have the columns label,{','.join(COLUMNS)}; got {','.join(names)}")
    return _numbers(path, member, body, ",")


def _read_libfm(path: Path, member: str) -> Array:
    """`-1 204:1 4798:1 ...`: a label and the numbers of the features that are on."""
    with opened(path, member) as file:
        data = file.read()
    return _numbers(path, member or path.name, re.sub(rb":1(?=\s|$)", b"", data), " ")


def _numbers(path: Path, member: str, data: bytes, separator: str) -> Array:
    import pyarrow as pa
    from pyarrow import csv

    names = ["label", *COLUMNS]
    try:
        table = csv.read_csv(
            pa.py_buffer(data),
            read_options=csv.ReadOptions(column_names=names, use_threads=False),  # else errors name no row
            parse_options=csv.ParseOptions(delimiter=separator, quote_char=False),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pa.int64()), null_values=[]),
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"{member} in {path} is malformed: {error}") from error
    return np.stack([table[name].to_numpy() for name in names], axis=1)


def _read_log(path: Path) -> dict[str, Array]:
    """`frappe.csv`, separated by tabs; `cnt` counts uses and is no feature."""
    with opened(path, "frappe.csv") as file:
        header, *rows = file.read().decode().splitlines()
    names = header.split("\t")
    if missing := [c for c in COLUMNS if c not in names]:
        raise DataError(
            f"frappe.csv in {path} must have the columns {', '.join(COLUMNS)}; {', '.join(missing)} missing"
        )
    cells = [row.split("\t") for row in rows if row]
    for number, row in enumerate(cells, 2):
        if len(row) != len(names):
            raise DataError(f"frappe.csv in {path}, line {number}: {len(names)} fields expected, got {len(row)}")
    return {c: np.array([row[names.index(c)] for row in cells]) for c in COLUMNS}
