"""The names that plugins import: they are there, they need no torch where data are read, and a table becomes data."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import fmlab.api
from fmlab.errors import DataError
from fmlab.testing import DataContract

VISITS = {
    "person": ["ann", "bob", "ann", "cid", "bob", "ann"],
    "place": ["zoo", "zoo", "park", "park", "bar", "bar"],
    "kind": [["animals", "kids"], ["animals", "kids"], ["kids"], ["kids"], None, None],
    "hour": [9, 10, 9, 11, 23, 22],
    "stars": [5.0, 4.0, 3.0, 1.0, 2.0, 5.0],
}


def test_every_name_can_be_imported():
    assert len(fmlab.api.__all__) == len(set(fmlab.api.__all__)) > 20
    assert all(getattr(fmlab.api, name) is not None for name in fmlab.api.__all__)
    with pytest.raises(AttributeError, match=r"fmlab\.api has no 'Nothing'; it has Array, "):
        _ = fmlab.api.Nothing


def test_a_data_set_needs_no_torch():
    names = "DataSource, RawFile, Dataset, encode_table, Range"
    program = f"import sys; from fmlab.api import {names}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


class TestEncodeTable(DataContract):
    def make(self, folder: Path) -> fmlab.api.Dataset:
        return fmlab.api.encode_table(
            "visits",
            pa.table(VISITS),
            folder,
            user="person",
            item="place",
            label="stars",
            item_fields=["kind"],
            numeric=["hour"],
        )

    def test_columns_become_features_of_their_side(self, dataset: fmlab.api.Dataset) -> None:
        assert [(f.name, f.side, f.slots, f.numeric) for f in dataset.schema.fields] == [
            ("user", "user", 1, False),
            ("hour", "context", 1, True),
            ("item", "item", 1, False),
            ("kind", "item", 2, False),
        ]
        assert np.asarray(dataset.label).tolist() == VISITS["stars"]
        assert dataset.keys["kind"].tolist() == ["animals", "kids"]
        hours = np.array(VISITS["hour"], np.float64)
        expected = ((hours - hours.mean()) / hours.std()).astype(np.float32)
        assert dataset.context is not None
        np.testing.assert_allclose(dataset.context.values[:, 0], expected, rtol=1e-6)


def test_a_frame_is_a_table_too(tmp_path: Path) -> None:
    frame = pd.DataFrame({"u": ["a", "b"], "i": [7, 8], "index": [1, 2]})
    made = fmlab.api.encode_table("frame", frame, tmp_path, user="u", item="i", ignore=["index"])
    assert [f.name for f in made.schema.fields] == ["user", "item"]
    assert made.keys["item"].tolist() == ["7", "8"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"item": "plase"}, "visits: the table has no column 'plase'; did you mean 'place'"),
        ({"numeric": ["person"]}, "numbers"),
        ({"item_fields": ["hour"]}, "one value for each item"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    given = {"user": "person", "item": "place"} | changes
    with pytest.raises(DataError, match=message):
        fmlab.api.encode_table("visits", pa.table(VISITS), tmp_path, **given)


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="visits: the table has no rows"):
        fmlab.api.encode_table("visits", pa.table({"u": pa.array([], pa.string())}), tmp_path, user="u")
