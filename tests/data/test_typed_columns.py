"""Columns of formats that have types: lists stay lists, what cannot be read is refused by name."""

import json
from decimal import Decimal

import pyarrow as pa
import pytest
from pyarrow import parquet
from test_csv import field, read

from fmlab.data.raw.cells import joined, readable, shown, split
from fmlab.data.raw.table import batches, detect_format
from fmlab.errors import DataError

ROLES = {"user": "u", "item": "i", "label": "y"}
BASE = {"u": ["1", "2", "3"], "i": ["a", "b", "a"], "y": [1, 0, 1]}
TAGS = [["R&B|Soul", "Pop"], ["x"], None]


def table(root, column, **options):
    try:
        parquet.write_table(pa.table({**BASE, "g": column}), root / "a.parquet")
        parquet.read_table(root / "a.parquet")
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        pytest.skip(f"PyArrow {pa.__version__}: {error}")
    return read(root, "a.parquet", **{**ROLES, **options})


def lines(root, values, name="a.jsonl", **options):
    rows = [{"u": str(n), "i": f"i{n % 2}", "y": n % 2, "g": value} for n, value in enumerate(values)]
    (root / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read(root, name, **{**ROLES, **options})


@pytest.mark.parametrize("values", [["a", "b|c"], ["a\x1fb", "\x1a1", "c"], ["x"], ["a|b"], ["\x1a0\x1f"]])
def test_a_list_becomes_a_cell_and_comes_back(values):
    assert split(joined(values), "|") == values
    assert shown(joined(values)) == "|".join(values)


def test_cells_of_text_are_split_and_those_of_nothing_are_missing():
    assert split("a|b||a", "|") == ["a", "b"]
    assert split("a|b", "") == ["a|b"]
    assert joined(["", None]) is None
    assert joined(["a", None, ""]) == joined(["a"])
    assert readable(pa.array(["a|b", joined(["c", "d"]), None])).to_pylist() == ["a|b", "c|d", None]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.string()),
        pa.large_list(pa.string()),
        pa.list_view(pa.string()),
        pa.list_(pa.large_string()),
    ],
    ids=str,
)
def test_lists_are_lists_by_type(tmp_path, kind):
    assert field(table(tmp_path, pa.array(TAGS, kind)), "g") == [*TAGS[:2], []]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([["t1|t2"], ["x"], ["y|z"]], pa.list_(pa.string()), ["t1|t2", "x", "y|z"]),
        ([["a", "b"], ["c", "d"], None], pa.list_(pa.string(), 2), [["a", "b"], ["c", "d"], []]),
        ([[1, 2], [2], []], pa.list_(pa.int64()), [["1", "2"], ["2"], []]),
        ([[1.5, float("nan")], [2.5], [None]], pa.list_(pa.float64()), ["1.5", "2.5", None]),
        ([[True, False], [True], None], pa.list_(pa.bool_()), [["true", "false"], ["true"], []]),
        ([["a\x1fb", "c\x1a1"], ["\x1a"], [""]], pa.list_(pa.string()), [["a\x1fb", "c\x1a1"], ["\x1a"], []]),
    ],
)
def test_lists_of_any_length_and_text(tmp_path, values, kind, expected):
    assert field(table(tmp_path, pa.array(values, kind)), "g") == expected


def test_lists_of_json_are_lists_wherever_they_begin(tmp_path):
    assert field(lines(tmp_path, TAGS), "g") == [*TAGS[:2], []]
    assert field(lines(tmp_path, [["t1|t2"], ["x"]]), "g") == ["t1|t2", "x"]
    mixed = ["R&B|Soul"] * 40_000 + [["x", "y|z"]]
    assert field(lines(tmp_path, mixed), "g")[-2:] == [["R&B|Soul"], ["x", "y|z"]]


@pytest.mark.parametrize("option", ["label", "time", "split", "numeric", "categorical", "log_squared", "quantile_bins"])
def test_a_list_has_no_role_or_other_kind(tmp_path, option):
    given = {"label": "", option: "g" if option in ("label", "time", "split") else ("g",)}
    other = (
        "give another column" if option in ("label", "time", "split") else r"multi_valued=\[g\] or drop_columns=\[g\]"
    )
    with pytest.raises(DataError, match=f"column 'g' .*holds lists, and {option}= wants one value.*: {other}"):
        table(tmp_path, pa.array([["1"]] * 3), **given)


def test_a_list_of_one_text_for_nothing_is_missing(tmp_path):
    assert field(table(tmp_path, pa.array([["NA"], ["x"], ["y"]]), na_values=("NA",)), "g") == [None, "x", "y"]


READABLE = {
    "dictionary of text": (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
    "empty text": (pa.array(["a", "", "b"]), ["a", None, "b"]),
    "dictionary with empty text": (pa.array(["a", "", "b"]).dictionary_encode(), ["a", None, "b"]),
    "binary without text": (pa.array([b"a", b"", b"b"]), ["a", None, "b"]),
    "dictionary of numbers": (pa.array([5, 6, 5]).dictionary_encode(), ["5", "6", "5"]),
    "decimal": (pa.array([Decimal("1.50"), Decimal("2.25"), None]), [1.5, 2.25, None]),
    "date": (pa.array([0, 1, None], pa.date32()), ["1970-01-01", "1970-01-02", None]),
    "time": (pa.array([1, 2, None], pa.time32("ms")), ["00:00:00.001", "00:00:00.002", None]),
    "duration": (pa.array([1500, 2000, None], pa.duration("ms")), [1.5, 2, None]),
    "binary text": (pa.array([b"x", b"\xc3\xa9", None]), ["x", "é", None]),
    "fixed binary": (pa.array([b"xx", b"yy", None], pa.binary(2)), ["xx", "yy", None]),
    "string view": (pa.array(["x", "y", None], pa.string_view()), ["x", "y", None]),
    "half float": (pa.array([1.5, 2.5, None], pa.float32()).cast(pa.float16()), [1.5, 2.5, None]),
    "float with NaN": (pa.array([1.5, float("nan"), 2.5]), [1.5, None, 2.5]),
    "boolean": (pa.array([True, False, None]), ["true", "false", None]),
}


@pytest.mark.parametrize("case", READABLE)
def test_plain_types_are_read_with_their_meaning(tmp_path, case):
    column, expected = READABLE[case]
    assert field(table(tmp_path, column, standardize=False), "g") == expected


UNREADABLE = {
    "struct": pa.array([{"a": 1}] * 3),
    "map": pa.array([[("a", 1)]] * 3, pa.map_(pa.string(), pa.int64())),
    "list<": pa.array([[[1]]] * 3),
    "list<element: struct": pa.array([[{"a": 1}]] * 3),
    "binary": pa.array([b"\xff\x00"] * 3),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_other_types_are_refused_by_name_and_not_read_where_they_are_ignored(tmp_path, case):
    with pytest.raises(DataError, match=rf"column 'g' of .*a\.parquet holds {case}.*drop_columns=\[g\] leaves"):
        table(tmp_path, UNREADABLE[case])
    assert [f.name for f in table(tmp_path, UNREADABLE[case], drop_columns=("g",)).schema.fields] == ["user", "item"]


@pytest.mark.parametrize(
    ("value", "what"), [({"a": 1}, "an object"), ([[1]], "a list of lists"), ([{"a": 1}], "an obj")]
)
def test_nested_json_is_refused_by_name_and_not_read_where_it_is_ignored(tmp_path, value, what):
    with pytest.raises(DataError, match=rf"column 'g' of .* holds {what}.*drop_columns=\[g\]"):
        lines(tmp_path, [value])
    assert lines(tmp_path, [value] * 3, drop_columns=("g",)).rows == 3


def test_columns_that_are_passed_on_may_hold_anything(tmp_path):
    columns = {"s": UNREADABLE["struct"], "b": UNREADABLE["binary"], "l": pa.array(TAGS)}
    parquet.write_table(pa.table({**BASE, **columns}), tmp_path / "a.parquet")
    form = detect_format(tmp_path / "a.parquet")
    (batch,) = batches(tmp_path / "a.parquet", form, ["s", "b", "l"], loose=["s", "b", "l"])
    assert batch["s"].to_pylist() == ['{"a": 1}'] * 3
    assert batch["b"].to_pylist() == ['"ff00"'] * 3
    assert batch["l"].to_pylist() == ['["R&B|Soul", "Pop"]', '["x"]', None]


def test_a_column_that_holds_nothing_by_its_type_is_left_out_and_said(tmp_path, caplog):
    assert [f.name for f in table(tmp_path, pa.nulls(3)).schema.fields] == ["user", "item"]
    assert "g of a.parquet is left out: its type holds no value" in caplog.text


def test_times_of_types_are_times(tmp_path):
    zoned = pa.array([10**15, 10**15 + 1, 0], pa.timestamp("us", "Europe/Berlin"))
    assert table(tmp_path, zoned, time="g").time.tolist() == [10**15, 10**15 + 1, 0]
    days = pa.array([16_000, 16_001, 0], pa.date32())
    assert table(tmp_path, days, time="g").time.tolist() == [d * 86_400_000_000 for d in (16_000, 16_001, 0)]


def test_names_with_dots_are_names(tmp_path):
    parquet.write_table(pa.table({**BASE, "a.b": ["x", "y", "z"], "a": UNREADABLE["struct"]}), tmp_path / "a.parquet")
    assert field(read(tmp_path, "a.parquet", **ROLES, drop_columns=("a",)), "a.b") == ["x", "y", "z"]
