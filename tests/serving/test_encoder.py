"""What preparation made of a table is what the encoder makes of it, whatever the options of the data set."""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from trained import cells, write_clicks

from fmlab.contracts import DataSource
from fmlab.data import Dataset, FieldEncoding
from fmlab.data.encoding.fitted_encoder import Encoder
from fmlab.data.raw.table import TableFormat, batches, detect_format
from fmlab.data.store.cache import cached_dataset
from fmlab.data.store.fingerprint import canonical
from fmlab.data.store.validation import check
from fmlab.errors import DataError
from fmlab.plugin.registry import build
from fmlab.untrusted.dataclasses import checked

sys.path.insert(0, str(Path(__file__).parent.parent / "data"))

from formats import AVAZU, avazu, criteo

CLICKS = {
    **{"user": "uid", "item": "movie", "label": "clicked", "time": "when", "on_leak": "allow"},
    **{"user_fields": ("age",), "item_fields": ("brand",), "multi_valued": ("tags",), "numeric": ("price", "age")},
    **{"categorical": ("color", "brand")},
}


def prepared(root: Path, name: str, **options: Any) -> Dataset:
    source = build("data", {"name": name, **options}, root, gives=DataSource)
    return cached_dataset(source, name, options, root, root / "cache")


def assert_same_features(
    data: Dataset, path: Path, form: TableFormat, *, new: bool = False
) -> dict[str, tuple[int, int]]:
    """Rows of the raw table against those of the data set; `new`: with ids that it does not know."""
    encoder, known = Encoder.of(data), detect_format(path, form)
    tallies = encoder.tallies()
    columns = [c.name for c in encoder.columns()]
    tables = [encoder.encode(batch, tallies) for batch in batches(path, known, columns, block=2000)]
    got, want = np.concatenate([t.ids for t in tables]), data.row_ids(np.arange(data.rows))
    for column, field in enumerate(data.schema.column_field):
        if new and data.schema.fields[field].name in ("user", "item"):
            want.ids[:, column] = data.schema.offsets[field]
    np.testing.assert_array_equal(got, want.ids)
    if want.values is not None:
        values = [t.values for t in tables if t.values is not None]
        np.testing.assert_array_equal(np.concatenate(values), want.values)
    return {name: (t.unseen, t.dropped) for name, t in tallies.items() if t.unseen or t.dropped}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"standardize": False, "na_values": ("none", "brand1")},
        {"buckets": 3},
        {
            "log_squared": ("visits",),
            "quantile_bins": ("dwell",),
            "n_bins": 3,
            "time_features": ("hour", "weekday"),
            "buckets": 2,
        },
        {"log_squared": ("price",), "numeric": ("age",), "multi_valued": (), "quantile_bins": ("dwell", "visits")},
        {"user": "", "item": "", "user_fields": (), "item_fields": (), "time": ""},
    ],
    ids=str,
)
@pytest.mark.parametrize("new", [False, True], ids=["known", "new"])
def test_a_table_is_encoded_as_it_was_prepared(options: dict[str, Any], new: bool, tmp_path: Path) -> None:
    path = write_clicks(tmp_path / "clicks.csv")
    data = prepared(tmp_path, "csv", path="clicks.csv", **CLICKS | options)
    if new:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        made = [
            lines[0],
            *(",".join([f"new {c}" if n < 2 else c for n, c in enumerate(line.split(","))]) for line in lines[1:]),
        ]
        path.write_text("\n".join(made) + "\n")
    unseen = assert_same_features(data, path, TableFormat(), new=new)
    assert unseen == ({"user": (300, 0), "item": (300, 0)} if new and data.users is not None else {})


def test_values_that_no_training_row_has_are_unseen(tmp_path: Path) -> None:
    path = write_clicks(tmp_path / "clicks.csv")
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    parts = ["part", *(["train", "valid", "test"][n % 3] for n in range(300))]
    lines = [f"{line},{part}" for line, part in zip(lines, parts, strict=True)]
    lines[2] = lines[2].replace(lines[2].split(",")[7], "teal")  # a validation row
    path.write_text("\n".join(lines) + "\n")
    data = prepared(tmp_path, "csv", path="clicks.csv", **CLICKS, split="part", min_count=2)
    assert "teal" not in data.keys["color"].tolist()
    unseen = assert_same_features(data, path, TableFormat())
    assert "color" in unseen


@pytest.mark.parametrize("options", [{}, {"numbers": "numeric"}, {"buckets": 5}, {"min_count": 1}], ids=str)
def test_raw_rows_of_criteo_are_read(options: dict[str, Any], tmp_path: Path) -> None:
    import tarfile

    criteo(tmp_path)
    data = prepared(tmp_path, "criteo", **options)
    with tarfile.open(tmp_path / "dac.tar.gz") as archive:
        archive.extract("./train.txt", tmp_path, filter="data")
    names = ("label", *(f"I{n}" for n in range(1, 14)), *(f"C{n}" for n in range(1, 27)))
    (tmp_path / "rows.tsv").write_text("\t".join(names) + "\n" + (tmp_path / "train.txt").read_text())
    assert_same_features(data, tmp_path / "rows.tsv", TableFormat())


@pytest.mark.parametrize("options", [{"min_count": 1}, {"buckets": 4}], ids=str)
def test_raw_rows_of_avazu_are_read(options: dict[str, Any], tmp_path: Path) -> None:
    avazu(tmp_path)
    data = prepared(tmp_path, "avazu", **options)
    assert len(AVAZU.split(",")) == 24
    assert_same_features(data, tmp_path / "train.gz", TableFormat(separator=","))


def test_inputs_survive_the_cache_and_name_no_unknown_transform(tmp_path: Path) -> None:
    write_clicks(tmp_path / "clicks.csv")
    first = prepared(tmp_path, "csv", path="clicks.csv", **CLICKS, n_bins=4, quantile_bins=("dwell",))
    again = prepared(tmp_path, "csv", path="clicks.csv", **CLICKS, n_bins=4, quantile_bins=("dwell",))
    assert again.inputs == first.inputs
    assert again.input("user").column == "uid"
    edges = again.input("dwell").edges
    assert len(edges) == 3
    known = sorted(float(row["dwell"]) for row in cells(tmp_path / "clicks.csv"))
    assert set(edges) <= set(known)
    assert again.input("tags").list_separator == "|"
    with pytest.raises(DataError, match="did you mean 'log_squared'"):
        check(replace(first, inputs={"price": FieldEncoding("price", transform="log_square")}))
    with pytest.raises(DataError, match="inputs must be of fields, got 'prize'"):
        check(replace(first, inputs={"prize": FieldEncoding("price")}))


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_lists_numbers_and_times_are_read_in_serving_as_in_training(tmp_path: Path, kind: str) -> None:
    tags = [["R&B|Soul", "Pop"], ["t1|t2"], [], ["Pop"]] * 5
    rows = [
        {"u": f"u{n}", "i": f"i{n % 7}", "y": n % 2, "g": g, "x": "1,001" if n % 2 else "999", "t": n * 800_000_000}
        for n, g in enumerate(tags)
    ]
    path = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        parquet.write_table(pa.Table.from_pylist(rows), path)
    roles = {"user": "u", "item": "i", "label": "y", "time": "t", "time_features": ("hour",), "on_leak": "allow"}
    options = {**roles, "thousands": ",", "numeric": ("x",), "multi_valued": ("g",), "context_fields": ("g", "x")}
    data = prepared(tmp_path, "csv", path=path.name, **options)
    assert data.keys["g"].tolist() == ["R&B|Soul", "Pop", "t1|t2"]
    assert data.keys["hour"].tolist()[:3] == ["0", "6", "12"]  # 800,000 seconds, though as seconds it is a date
    assert assert_same_features(data, path, TableFormat()) == {}


def test_a_list_stands_for_text_that_training_split(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("y,g,c\n1,a|b,p\n0,b,q\n1,a,p\n")
    data = prepared(tmp_path, "csv", path="a.csv", label="y", multi_valued=("g",), categorical=("c",))
    lines = [{"y": 1, "g": ["a", "b"], "c": ["p"]}, {"y": 0, "g": ["b"], "c": "q"}, {"y": 1, "g": "a", "c": "p"}]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert assert_same_features(data, tmp_path / "b.jsonl", TableFormat()) == {}


@pytest.mark.parametrize("read", [FieldEncoding.from_dict, partial(checked, FieldEncoding)])
def test_encodings_of_earlier_versions_are_read(read: Callable[[dict[str, str]], FieldEncoding]) -> None:
    stored = {"column": "genres", "within": "|", "times": "ms"}
    assert read(stored) == FieldEncoding("genres", list_separator="|", time_format="ms")
    assert read(vars(read(stored))) == read(stored)


def test_data_that_an_earlier_version_prepared_are_the_same(tmp_path: Path) -> None:
    write_clicks(tmp_path / "clicks.csv")
    first = prepared(tmp_path, "csv", path="clicks.csv", **CLICKS)
    (file,) = (tmp_path / "cache").glob("csv-*/manifest.json")
    stored = json.loads(file.read_text())
    former = {now: before for before, now in FieldEncoding.FORMER.items()}
    for given in stored["dataset"]["inputs"].values():
        for now in former.keys() & given.keys():
            given[former[now]] = given.pop(now)
    stored["sources"] = ["that of an earlier version"]
    del stored["checksum"]
    stored["checksum"] = hashlib.sha256(canonical(stored).encode()).hexdigest()
    file.write_text(json.dumps(stored))
    assert prepared(tmp_path, "csv", path="clicks.csv", **CLICKS).fingerprint == first.fingerprint
