"""Frames of pandas, whatever types their columns have: rows of training are the same features in serving."""

from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_encoder import prepared

from fmlab.data.encoding.fitted_encoder import Encoder
from fmlab.errors import DataError
from fmlab.serving.frames import frame_batches
from fmlab.workflow.frames import arrow_table, write_frame

COLUMNS = {
    "whole numbers": [1, 2, 3],
    "fractions": [1.5, 2.0, np.nan],
    "nullable whole numbers": pd.array([1, None, 3], dtype="Int64"),
    "nullable booleans": pd.array([True, None, False], dtype="boolean"),
    "booleans": [True, False, True],
    "numbers and texts": [1, "1", 2.0],
    "numbers, texts and nothing": [1.5, "a", None],
    "true and texts": [True, "x", 0],
    "numbers of more than 64 bits": [2**64 + 1, 5, -(2**70)],
    "categories with unused ones": pd.Categorical(["a", "b", None], categories=["z", "b", "a"]),
    "categories of numbers": pd.Categorical([1.5, 2.5, 1.5]),
    "categories of intervals": pd.cut([1, 5, 9], 3),
    "intervals": pd.arrays.IntervalArray.from_breaks([0, 1, 2, 3]),
    "periods": pd.period_range("2020-01", periods=3, freq="M"),
    "times of the day": [time(1, 2), time(3, 4, 5), time(6, 7, 8, 9)],
    "lengths of time": [timedelta(seconds=1), timedelta(milliseconds=1500), pd.NaT],
    "days": [date(2020, 1, 1), date(2020, 1, 2), None],
    "times": pd.to_datetime(["2020-01-01", "2020-01-02 03:04", None], format="ISO8601"),
    "times in a zone": pd.date_range("2020-01-01", periods=3, tz="Europe/Berlin"),
    "decimals": [Decimal("1.50"), Decimal("2.25"), None],
    "texts": ["a", "", None],
    "text of pandas": pd.array(["a", pd.NA, "c"], dtype="string"),
    "bytes": [b"a", b"b", b"a"],
    "lists": [["a", "b|c"], [], ["a"]],
    "lists of fractions": [[1.0, 2.5], [3.0], None],
    "lists of days": [[date(2020, 1, 1)], [date(2020, 1, 2)], []],
    "times at midnight": pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03"]),
    "times to the nanosecond": pd.Series([1, 2, 3], dtype="datetime64[ns]"),
    "tuples": [(1, 2), (3,), (2,)],
    "arrays": [np.array([1, 2]), np.array([3, 4]), np.array([1, 2])],
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_row_is_the_same_in_training_and_in_serving(kind: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"u": ["p", "q", "r"], "i": [7, 8, 7], "y": [0, 1, 1], "x": COLUMNS[kind]})
    path = write_frame(frame, tmp_path)
    roles = {"user": "u", "item": "i", "label": "y", "context_fields": ("x",), "on_leak": "allow"}
    data = prepared(tmp_path, "csv", path=str(path), **roles)
    encoder = Encoder.of(data)
    tallies = encoder.tallies()
    (table,) = (encoder.encode(batch, tallies) for batch in frame_batches(frame, encoder))
    np.testing.assert_array_equal(table.ids, data.row_ids(np.arange(3)).ids)
    assert not any(tally.unseen for tally in tallies.values())


REFUSED = {
    "objects among numbers": ([1, {"a": 2}, 3], "column 'x' of the frame has dict, int, such as {'a': 2}"),
    "half a character": ([1, "\ud800", "b"], r"half a character, '\\ud800', is no text: column 'x' .*row 2"),
    "complex numbers": ([1j, 2j, 3j], "column x with type complex128"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_value_is_refused_by_name(kind: str) -> None:
    values, said = REFUSED[kind]
    with pytest.raises(DataError, match=said):
        arrow_table(pd.DataFrame({"x": values}))


def test_columns_of_one_name_are_refused() -> None:
    with pytest.raises(DataError, match="columns need different names, the frame has 'x' twice"):
        arrow_table(pd.DataFrame([[1, 2]], columns=["x", "x"]))
