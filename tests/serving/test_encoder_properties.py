"""encoder(raw row) == prepared row: for random tables, and for every data set that is at hand."""

import csv
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fmlab.contracts import DataSource, Task, Training
from fmlab.data import Dataset, Table
from fmlab.data.encoding.fitted_encoder import Encoder
from fmlab.data.store.cache import cached_dataset
from fmlab.errors import DataError
from fmlab.plugin.registry import build
from fmlab.records.folder import SERVING
from fmlab.run.serving_data import ServingData
from fmlab.run.serving_file import packed, read_serving_data

sys.path.insert(0, str(Path(__file__).parent.parent / "data"))

import formats

WORD = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n\ufeff\x1f\x1a"), min_size=1, max_size=4)
NAME = WORD.filter(lambda t: t.strip() == t and "|" not in t)
NUMBER = st.one_of(st.integers(-(10**9), 10**9).map(str), st.floats(-1e6, 1e6).map(lambda x: repr(round(x, 3))))
TAGS = st.lists(st.sampled_from(["a", "b", "ü", "R&B", "c d"]), max_size=4).map("|".join)
ROW = st.tuples(NAME, NAME, st.sampled_from(["", "x", "y", "0", "00", "NA"]), TAGS, st.one_of(st.just(""), NUMBER))
ROLES = {"user": "u", "item": "i", "label": "y", "on_leak": "allow", "context_fields": ("c", "t", "n")}
KINDS = {"categorical": ("c",), "multi_valued": ("t",), "numeric": ("n",)}


def again(data: Dataset, folder: Path) -> Encoder:
    """The encoder as a run folder holds it."""
    none: Any = None
    kept = ServingData.of(data, Task(data, Training(np.arange(0)), none, none, "", True), log_odds=False)
    (folder / SERVING).write_bytes(packed(kept))
    return read_serving_data(folder / SERVING).encoder()


def assert_same(got: Table, want: Table) -> None:
    np.testing.assert_array_equal(got.ids, want.ids)
    assert (got.values is None) == (want.values is None)
    if got.values is not None:
        np.testing.assert_array_equal(got.values, want.values)


def batch(columns: dict[str, list[str | None]]) -> Any:
    cells = {
        name: pa.array([c or None for c in texts], pa.string()).dictionary_encode() for name, texts in columns.items()
    }
    return pa.RecordBatch.from_pydict(cells)


@given(st.lists(ROW, min_size=2, max_size=12), st.sampled_from([0, 3]), st.booleans(), st.integers(1, 2))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_rows_of_a_random_table(
    tmp_path: Path, rows: list[tuple[str, ...]], buckets: int, standardize: bool, min_count: int
) -> None:
    path = tmp_path / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("u", "i", "c", "t", "n", "y"))
        writer.writerows([*row, n % 2] for n, row in enumerate(rows))
    options = {
        **ROLES,
        **KINDS,
        "buckets": buckets,
        "standardize": standardize,
        "min_count": min_count,
        "path": "t.csv",
    }
    source = build("data", {"name": "csv", **options, "sep": ","}, tmp_path, gives=DataSource)
    workspace = tmp_path / "w"
    workspace.mkdir(exist_ok=True)
    data = source.build({raw.path: path for raw in source.raw}, workspace)
    columns = dict(zip("uictn", (list(c) for c in zip(*rows, strict=True)), strict=True))
    want = data.row_ids(np.arange(data.rows))
    for encoder in (Encoder.of(data), again(data, tmp_path)):
        assert_same(encoder.encode(batch(columns), encoder.tallies()), want)


MADE: dict[str, Any] = {
    "amazon-auto": (formats.amazon_reviews, {}),
    "amazon-beauty": (formats.amazon_sequences, {}),
    "amazon-office": (formats.amazon_splits, {}),
    "steam": (formats.steam, {}),
    "steam-200k": (formats.steam_200k, {}),
    "movielens-20m": (formats.movielens_csv, {}),
    "movielens-tag": (formats.ml_tag, {}),
    "avazu": (formats.avazu, {"min_count": 1}),
    "criteo": (formats.criteo, {}),
    "goodbooks": (formats.goodbooks, {}),
    "kkbox": (formats.kkbox, {}),
    "yelp": (formats.yelp, {}),
    "meetup": (formats.meetup, {}),
    "gowalla": (formats.gowalla, {}),
    "synthetic": (lambda root: None, {"users": 30, "items": 20, "positives": 5}),
}
REAL = ("movielens-1m", "movielens-100k", "movielens-latest", "frappe", "amazon-office", "steam-200k", "goodbooks")


@pytest.mark.parametrize("name", MADE)
def test_rows_of_every_format(name: str, tmp_path: Path) -> None:
    make, options = MADE[name]
    make(tmp_path)
    try:
        assert_raw_rows_are_prepared_rows(name, options, tmp_path, tmp_path)
    except DataError as error:
        pytest.skip(str(error))  # a file that this format's test writes in parts


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_rows_of_the_sets_at_hand(name: str, tmp_path: Path) -> None:
    root = os.environ.get("FMLAB_TEST_DATA")
    if not root:
        pytest.skip("FMLAB_TEST_DATA is not set")
    assert_raw_rows_are_prepared_rows(name, {}, Path(root), tmp_path)


def assert_raw_rows_are_prepared_rows(name: str, options: dict[str, Any], root: Path, folder: Path) -> None:
    """Raw rows are written from the keys; columns that are made by a transform are given its result."""
    source = build("data", {"name": name, **options}, root, gives=DataSource)
    data = cached_dataset(source, name, options, root, folder / "cache")
    plain = {f.name: replace(data.input(f.name), column=f.name, transform="") for f in data.schema.fields}
    data = replace(data, inputs=plain)
    rows = np.unique(np.random.default_rng(0).integers(0, data.rows, 2000))
    want = data.row_ids(rows)
    columns: dict[str, list[str | None]] = {}
    for number, field in enumerate(data.schema.fields):
        at = [c for c, f in enumerate(data.schema.column_field) if f == number]
        ids, given = want.ids[:, at] - data.schema.offsets[number], data.input(field.name)
        if field.numeric:
            assert want.values is not None
            numbers = want.values[:, at[0]].astype(np.float64) * given.scale + given.center
            columns[field.name] = [
                repr(float(x)) if there else None for x, there in zip(numbers, ids[:, 0], strict=True)
            ]
        else:
            keys = [None, *data.keys[field.name].tolist()]
            columns[field.name] = [given.list_separator.join(keys[c] for c in row if c) or None for row in ids.tolist()]
    for encoder in (Encoder.of(data), again(data, folder)):
        tallies = encoder.tallies()
        got = encoder.encode(batch(columns), tallies)
        np.testing.assert_array_equal(got.ids, want.ids)
        assert not any(t.unseen or t.dropped for t in tallies.values())
        if want.values is not None:
            assert got.values is not None
            np.testing.assert_allclose(got.values, want.values, rtol=1e-5, atol=1e-6)
