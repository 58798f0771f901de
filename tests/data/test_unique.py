"""Columns with a value of its own for nearly every row: no categories of a single row each."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fmlab.data.encoding.fitted_encoder import Encoder
from fmlab.data.store.cache import cached_dataset
from fmlab.plugin.registry import build

ROWS = 400
RNG = np.random.default_rng(0)
COLUMNS = {
    "seconds": lambda n: str(1_500_000_000 + 977 * n),
    "milliseconds": lambda n: str(1_500_000_000_123 + 977 * n),
    "iso": lambda n: f"2021-03-{1 + n % 28:02d}T{n % 24:02d}:{n % 60:02d}:{n % 59:02d}",
    "text": lambda n: f"order {n} of the shop",
    "number": lambda n: str((n * 7919) % 100_003),
    "fraction-like id": lambda n: f"{n:08x}",
}


def made(path: Path, cell, *, sides: bool = True, **options):
    rows = [(f"u{RNG.integers(20)}", f"i{RNG.integers(15)}", n % 2, n % 3, cell(n)) for n in range(ROWS)]
    path.write_text("u,i,y,site,x\n" + "".join(",".join(map(str, r)) + "\n" for r in rows))
    given = {"path": str(path), "label": "y", **({"user": "u", "item": "i"} if sides else {}), **options}
    source = build("data", {"name": "csv", **given}, path.parent)
    return cached_dataset(source, name="csv", options=given, root=path.parent, cache=path.parent / "cache")


@pytest.mark.parametrize("sides", [True, False])
@pytest.mark.parametrize("kind", [k for k in COLUMNS if k != "number"])
def test_a_near_unique_column_is_left_out_with_a_warning(kind, sides, tmp_path: Path, caplog) -> None:
    data = made(tmp_path / "t.csv", COLUMNS[kind], sides=sides)
    assert "x" not in [f.name for f in data.schema.fields]
    time = kind in ("seconds", "milliseconds", "iso")
    assert ("looks like a time and is left out: time=x makes it" in caplog.text) == time
    assert "context_fields=[x] keeps them as categories" in caplog.text
    assert [r.levelname for r in caplog.records if "x has" in r.message] == ["WARNING"]
    assert "x is left out: near-unique" in [s.name for s in data.steps]
    kept = made(tmp_path / "t.csv", COLUMNS[kind], sides=sides, context_fields=["x"], on_leak="allow")
    assert next(f.size for f in kept.schema.fields if f.name == "x") > 300


def test_numbers_are_put_into_intervals_as_later_rows_are(tmp_path: Path, caplog) -> None:
    data = made(tmp_path / "t.csv", COLUMNS["number"], n_bins=8)
    field = next(f for f in data.schema.fields if f.name == "x")
    assert field.size == 8 + 1
    assert "is put into 8 intervals" in caplog.text
    encoder, numbers = Encoder.of(data), [COLUMNS["number"](n) for n in range(ROWS)]
    rows = pa.RecordBatch.from_arrays(
        [pa.array(c).dictionary_encode() for c in (["u1"] * ROWS, ["i1"] * ROWS, ["0"] * ROWS, numbers)],
        names=["u", "i", "site", "x"],
    )
    at = [f.name for f in data.schema.fields].index("x")
    encoded = encoder.encode(rows, encoder.tallies()).ids[:, at]
    assert encoded.tolist() == data.row_ids(np.arange(ROWS)).ids[:, at].tolist()
    counts = np.bincount(encoded - data.schema.offsets[at])[1:]
    assert counts.min() > 30


def test_what_repeats_is_kept(tmp_path: Path, caplog) -> None:
    for cell in (lambda n: f"{n % 130}", lambda n: f"2021-03-{1 + n % 12:02d}", lambda n: str(1_500_000_000 + n % 15)):
        data = made(tmp_path / "t.csv", cell)
        assert "x" in [f.name for f in data.schema.fields]
    assert "near-unique" not in caplog.text


def test_a_name_of_the_item_goes_to_the_item_however_rare_items_are(tmp_path: Path) -> None:
    items = [n if n < 380 else n - 380 for n in range(ROWS)]
    text = "u,i,y,title\n" + "".join(f"u{n % 20},i{i},{n % 2},title {i}\n" for n, i in enumerate(items))
    (tmp_path / "t.csv").write_text(text)
    source = build(
        "data", {"name": "csv", "path": str(tmp_path / "t.csv"), "user": "u", "item": "i", "label": "y"}, tmp_path
    )
    data = source.build({r.path: tmp_path / "t.csv" for r in source.raw}, tmp_path)
    assert {f.name: f.side for f in data.schema.fields}["title"] == "item"


def test_a_table_of_nothing_else_is_kept(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("y,x\n" + "".join(f"{n % 2},name {n}\n" for n in range(ROWS)))
    source = build("data", {"name": "csv", "path": str(tmp_path / "t.csv"), "label": "y"}, tmp_path)
    assert source.build({r.path: tmp_path / "t.csv" for r in source.raw}, tmp_path).schema.n_features == ROWS + 1
