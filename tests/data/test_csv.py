import gzip
import json
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from data_cases import write_zip
from fmlab_datasets.csv import Csv
from pyarrow import parquet

from fmlab.data.store.cache import cached_dataset
from fmlab.errors import DataError

TEXT = "user,item,stars,age,genre,when\n7,a,5,1.5,x|y,100\n007,b,1,,y,200\nNA,a,4,2.5,,300\n"
ROLES = {"user": "user", "item": "item", "label": "stars", "time": "when"}


def opened(root, text, name="my.csv", **options):
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(root, name, **options)


def read(root, name, **options):
    options = {"path": name, **options}
    return cached_dataset(Csv(root, **options), "csv", options, root, root / "cache")


def field(dataset, name):
    """Texts (None if unknown) of a field in every row, one list a row; for a numeric field its values."""
    place = [f.name for f in dataset.schema.fields].index(name)
    columns = [c for c, f in enumerate(dataset.schema.column_field) if f == place]
    table = dataset.row_ids(np.arange(dataset.rows))
    codes = table.ids[:, columns] - dataset.schema.offsets[place]
    if dataset.schema.fields[place].numeric:
        return [float(v) if c else None for v, c in zip(table.values[:, columns[0]], codes[:, 0], strict=True)]
    keys = [None, *dataset.keys[name].tolist()]
    rows = [[keys[c] for c in row] for row in codes]
    return [row[0] for row in rows] if len(columns) == 1 else [[v for v in row if v is not None] for row in rows]


def test_ids_stay_text_and_kinds_are_guessed_and_said(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        data = opened(tmp_path, TEXT, standardize=False, **ROLES)
    assert field(data, "user") == ["7", "007", "NA"]
    assert data.user.tolist() == [0, 1, 2]
    assert data.item.tolist() == [0, 1, 0]
    assert data.label.tolist() == [5, 1, 4]
    assert data.time.tolist() == [100_000_000, 200_000_000, 300_000_000]
    assert field(data, "age") == [1.5, None, 2.5]
    assert field(data, "genre") == [["x", "y"], ["y"], []]
    assert "age is numeric, genre is multi" in caplog.text


def test_ids_beyond_double_precision_and_odd_texts_are_never_merged(tmp_path):
    ids = [
        "9007199254740993",
        "9007199254740992",
        "1.0",
        "1",
        "01",
        "null",
        "None",
        "nan",
        " a",
        "a",
        "A",
        "é",
        "e\u0301",
    ]
    data = opened(tmp_path, "id,label\n" + "".join(f"{i},1\n" for i in ids), categorical=("id",), label="label")
    assert field(data, "id") == ids
    assert data.schema.fields[0].size == len(ids) + 1


def test_sides_follow_their_entity(tmp_path):
    text = "u,i,age,brand,hour\n1,a,20,x,8\n2,a,30,x,9\n1,b,20,y,9\n"
    data = opened(tmp_path, text, user="u", item="i", user_fields=("age",), item_fields=("brand",))
    assert [(f.name, f.side) for f in data.schema.fields] == [
        ("user", "user"),
        ("age", "user"),
        ("hour", "context"),
        ("item", "item"),
        ("brand", "item"),
    ]
    assert data.users.ids.shape == (2, 2)
    assert field(data, "age") == ["20", "30", "20"]
    assert field(data, "brand") == ["x", "x", "y"]
    assert field(data, "hour") == ["8", "9", "9"]
    assert data.keys["user"].tolist() == ["1", "2"]


@pytest.mark.parametrize(("kind", "value"), [("categorical", "21"), ("numeric", "20.5"), ("categorical", "")])
def test_a_field_that_its_user_does_not_determine_is_refused(tmp_path, kind, value):
    text = f"u,i,age\n1,a,20\n2,a,30\n2,b,30\n1,b,{value}\n"
    with pytest.raises(DataError, match=r"'age' must have one value for each user, user '1' has several"):
        opened(tmp_path, text, user="u", item="i", user_fields=("age",), **{kind: ("age",)})


def test_rare_values_become_unknown_but_users_stay(tmp_path):
    text = "u,i,g\n1,a,x\n2,a,y\n3,b,x|z\n"
    data = opened(tmp_path, text, user="u", item="i", multi_valued=("g",), min_count=2)
    assert field(data, "g") == [["x"], [], ["x"]]
    assert field(data, "user") == ["1", "2", "3"]
    assert [s.features for s in data.steps][-1] == data.schema.n_features


def test_numbers_are_standardized_over_the_rows_that_have_them(tmp_path):
    data = opened(tmp_path, "y,x,z\n1,1,5\n0,2,5\n1,,5\n0,6,5\n", label="y", numeric=("x", "z"))
    expected = (np.array([1, 2, 6]) - 3) / np.std([1, 2, 6])
    got = field(data, "x")
    assert got[2] is None
    np.testing.assert_allclose([got[0], got[1], got[3]], expected, rtol=1e-6)
    assert field(data, "z") == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bom.csv", b"\xef\xbb\xbf" + TEXT.encode()),
        ("crlf.csv", TEXT.replace("\n", "\r\n").encode()),
        ("my.tsv", TEXT.replace(",", "\t").encode()),
        ("semicolon.csv", TEXT.replace(",", ";").encode()),
        ("no_last_end.csv", TEXT.rstrip().encode()),
        ("blank_lines.csv", TEXT.replace("\n007", "\n\n007").encode()),
        ("quoted.csv", TEXT.replace("007", '"007"').encode()),
        ("my.csv.gz", gzip.compress(TEXT.encode(), mtime=0)),  # xdist compares the cases of its processes
        ("latin.csv", TEXT.encode("latin-1")),
        ("utf16.csv", TEXT.encode("utf-16")),
        ("my ü.csv", TEXT.encode()),
    ],
)
def test_any_way_of_writing_a_table_gives_the_same_data(tmp_path, name, text):
    encoding = {"latin.csv": "latin-1", "utf16.csv": "utf-16"}.get(name, "utf-8")
    data = opened(tmp_path, text, name, encoding=encoding, **ROLES)
    plain = opened(tmp_path, TEXT, "plain.csv", **ROLES)
    for side in ("users", "items", "context"):
        np.testing.assert_array_equal(getattr(data, side).ids, getattr(plain, side).ids)
    assert data.keys["user"].tolist() == ["7", "007", "NA"]
    assert data.time.tolist() == plain.time.tolist()


def rows_of_text():
    header, *rows = [line.split(",") for line in TEXT.splitlines()]
    return [{k: v or None for k, v in zip(header, row, strict=True)} for row in rows]


def test_parquet_and_json_lines_and_zip_give_the_same_data(tmp_path):
    rows = rows_of_text()
    columns = {k: [r[k] for r in rows] for k in rows[0]}
    columns["when"] = pa.array([100, 200, 300])
    columns["genre"] = pa.array([["x", "y"], ["y"], None])
    parquet.write_table(pa.table(columns), tmp_path / "my.parquet")
    objects = [{**r, "when": int(r["when"]), "genre": r["genre"] and r["genre"].split("|")} for r in rows]
    (tmp_path / "my.jsonl").write_text("".join(json.dumps(o) + "\n" for o in objects))
    write_zip(tmp_path / "my.zip", {"any.csv": TEXT.encode()})
    plain = opened(tmp_path, TEXT, **ROLES)
    for name in ("my.parquet", "my.jsonl", "my.zip"):
        data = read(tmp_path, name, **ROLES)
        for side in ("users", "items", "context"):
            np.testing.assert_array_equal(getattr(data, side).ids, getattr(plain, side).ids)
        np.testing.assert_array_equal(data.context.values, plain.context.values)
        assert data.time.tolist() == plain.time.tolist()


def test_json_numbers_stay_as_written(tmp_path):
    data = opened(tmp_path, '{"id": 1.0, "y": 1}\n{"id": 1, "y": 0}\n{"id": true, "y": 1}\n', "a.jsonl", label="y")
    assert field(data, "id") == ["1.0", "1", "true"]


def test_a_file_without_a_header_has_numbered_columns(tmp_path):
    data = opened(tmp_path, "7,a\n8,b\n", header=False, user="0", item="1")
    assert data.keys["user"].tolist() == ["7", "8"]


def test_a_split_of_the_file_is_kept(tmp_path):
    text = "y,x,part\n1,a,train\n0,b,Valid\n1,c,test\n0,d,2\n1,e,dev\n"
    assert opened(tmp_path, text, label="y", split="part").split.tolist() == [0, 1, 2, 2, 1]


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        (["1600000000", "1600000001"], [1600000000, 1600000001]),
        (["1600000000.25", "1600000000.123457"], [1600000000.25, 1600000000.123457]),
        (["1600000000999", "1600000001000"], [1600000000.999, 1600000001]),
        (["1600000000999123", "1600000001000000"], [1600000000.999123, 1600000001]),
        (["1600000000999123000", "0"], [1600000000.999123, 0]),
        (["2020-09-13T12:26:40", "2020-09-13 12:26:41"], [1600000000, 1600000001]),
        (["2020-09-13T12:26:40.1", "2020-09-13 12:26:40.100001"], [1600000000.1, 1600000000.100001]),
        (["2020-09-13T12:26:40.123456000", "2020-09-13 12:26:41"], [1600000000.123456, 1600000001]),
        (["2020-09-13T12:26:40Z", "2020-09-13T14:26:41.5+02:00"], [1600000000, 1600000001.5]),
        (["-5", "0.5"], [-5, 0.5]),
    ],
)
def test_times_are_microseconds_however_they_are_written(tmp_path, times, seconds):
    text = "u,i,t\n" + "".join(f"{n},a,{t}\n" for n, t in enumerate(times))
    time = opened(tmp_path, text, user="u", item="i", time="t").time.tolist()
    assert time == [round(s * 1_000_000) for s in seconds]


def test_a_relative_path_is_sought_in_the_working_folder_first(tmp_path, monkeypatch):
    root, here = tmp_path / "root", tmp_path / "here"
    for folder, text in ((root, "root"), (here, "here")):
        folder.mkdir()
        (folder / "a.csv").write_text(f"x,y\n{text},1\n")
    monkeypatch.chdir(here)
    assert field(read(root, "a.csv", label="y"), "x") == ["here"]
    (here / "a.csv").unlink()
    assert field(read(root, "a.csv", label="y"), "x") == ["root"]
    (root / "a.csv").unlink()
    with pytest.raises(DataError, match=r"looked for it at .*here/a.csv, .*root/a.csv"):
        read(root, "a.csv", label="y")


BAD_FILES = {
    "empty": (b"", "the file is empty"),
    "no rows after its header": (b"u,i,y\n", "has no rows after its header"),
    "blank first line": (b"\nu,i,y\n", "its first line is"),
    "utf-16": ("u,i,y\n1,a,1\n".encode("utf-16"), "written in utf-16; give encoding=utf-16"),
    "latin-1": ("u,i,y\n1,a,1\n2,é,1\n".encode("latin-1"), "not utf-8: .*line 3.*is it encoding=latin-1"),
    "lines of the old Macintosh": (b"u,i,y\r1,a,1\r", "no row of columns: .*carriage returns alone"),
    "NUL": (b"u,i,y\n1,a,1\n2,b\0,1\n", "no NUL bytes, .*in line 3"),
    "web page": (b"<!DOCTYPE html>\n<html></html>\n", "is a web page, not a table"),
    "latin-1 header": ("u,i,yé\n1,a,1\n".encode("latin-1"), "is it encoding=latin-1"),
    "separator": (b"u:i:y\n1:a:1\n", r"no column 'u' \(1 column found at sep="),
    "extra field in the first row": (
        b"u,i,y\n1,a,1,9\n2,b,0\n",
        "needs the 3 columns .*line 2: 4 columns",
    ),
    "short rows": (b"u,i,y\n1,a,1\n2,b\n3,c,1\n4\n", "2 or more .*line 3: 2 columns: 2,b; line 5: 1 columns: 4"),
    "open quote": (b'u,i,y\n1,"a,1\n2,b,1\n3,c",1\n', "line break inside a value: is a quote open"),
    "quote open to the end": (b'u,i,y\n1,a,1\n2,"b,1\n3,c,1\n', 'line 3: 2 columns: 2,"b,1; is a quote open'),
    "text among numbers": (b"u,i,y,n\n" + b"1,a,1,0.5\n" * 20 + b"1,b,1,high\n", "'n' must hold finite .*'high'"),
    "repeated names": (b"u,i,y,i\n1,a,1,2\n", "repeats 'i'"),
    "missing label": (b"u,i,y\n1,a,1\n2,b,\n", "'y' must have a label in every row; 1 do not, .*data rows 2"),
    "text label": (b"u,i,y\n1,a,good\n", "finite numbers, .*the first in data row 1: 'good'"),
    "nan label": (b"u,i,y\n1,a,nan\n", "finite numbers, .*the first in data row 1: 'nan'"),
    "infinite label": (b"u,i,y\n1,a,-inf\n", "finite numbers"),
    "underscored label": (b"u,i,y\n1,a,1_000\n1,a,x\n", "2 values are none, the first in data row 1: '1_000', 'x'"),
    "decimal comma": (b'u,i,y\n1,a,"1,5"\n', "is the decimal sign ','"),
    "missing user": (b"u,i,y\n,a,1\n", "'u' must name an entity in every row"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_explained(tmp_path, case):
    data, text = BAD_FILES[case]
    with pytest.raises(DataError, match=text):
        opened(tmp_path, data, user="u", item="i", label="y")
    assert not list((tmp_path / "cache").glob("csv-*/"))


BAD_COLUMNS = {
    "time mixed": ({"time": "t"}, ["1600000000", "1600000000000"], "mixes seconds and milliseconds"),
    "time mixed later": ({"time": "t"}, ["0", "1600000000000", "1600000000000000"], "mixes milliseconds and micro"),
    "time missing": ({"time": "t"}, ["1600000000", ""], "must have a time"),
    "time text": ({"time": "t"}, ["yesterday", "1"], "seconds, milliseconds, or ISO 8601"),
    "split text": ({"split": "t"}, ["train", "holdout"], "must hold train, valid or test; got 'holdout'"),
    "split missing": ({"split": "t"}, ["train", ""], r"got '\(missing\)'"),
    "number text": ({"numeric": ("t",)}, ["1", "x"], "the first in data row 2: 'x'"),
    "number infinite": ({"numeric": ("t",)}, ["1", "inf"], "'t' must hold finite numbers"),
}


@pytest.mark.parametrize("case", BAD_COLUMNS)
def test_bad_columns_are_explained(tmp_path, case):
    options, values, text = BAD_COLUMNS[case]
    rows = "".join(f"{n},a,{v}\n" for n, v in enumerate(values))
    with pytest.raises(DataError, match=text):
        opened(tmp_path, f"u,i,t\n{rows}", user="u", item="i", **options)


BAD_OPTIONS = {
    "unknown column": ({"user": "usr"}, "no column 'usr'.*did you mean 'user'"),
    "two roles": ({"user": "user", "item": "user"}, "one role or kind, 'user' was given two"),
    "two kinds": ({"numeric": ("age",), "multi_valued": ("age",)}, "one kind, 'age' was given two"),
    "role and kind": ({"label": "stars", "numeric": ("stars",)}, "'stars' was given two"),
    "side without entity": ({"user_fields": ("age",)}, "give user=<column>"),
    "field and role": ({"user": "user", "label": "age", "user_fields": ("age",)}, "got 'age'"),
    "taken name": ({"label": "stars"}, "must be the user itself: give data.user=user"),
    "nothing left": ({"label": "stars", "drop_columns": ("user", "item", "age", "genre", "when")}, "no columns left"),
    "separator": ({"sep": "::"}, "one character, got '::'"),
    "encoding": ({"encoding": "utf8000"}, "unknown encoding"),
    "valid alone": ({"valid": "my.csv"}, "give test=<file> too"),
    "split twice": ({"split": "age", "test": "b.csv"}, "a column or files, got both split=age and test="),
    "one file as two parts": ({"test": "my.csv"}, "parts of a split are different files"),
    "clock without time": ({"time_features": ("hour",)}, "needs a column of times"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options_are_explained(tmp_path, case):
    options, text = BAD_OPTIONS[case]
    with pytest.raises(DataError, match=text):
        opened(tmp_path, TEXT, **options)


NUMBERS = {"user": "user", "item": "item", "label": "y"}


def test_numbers_become_squared_logarithms(tmp_path):
    rows = "".join(f"{n},a,1,{x}\n" for n, x in enumerate(["3", "10", "2", "-1", "", "0.5", "2.5"]))
    data = opened(tmp_path, f"user,item,y,x\n{rows}", **NUMBERS, log_squared=("x",))
    assert field(data, "x") == ["1", "5", "=2", "=-1", None, "=0.5", "0"]  # ln(3)^2 = 1.2, ln(10)^2 = 5.3


def test_numbers_are_put_into_intervals_of_equally_many_training_rows(tmp_path):
    values = [1, 2, 3, 4, 5, 6, 7, 8, 90, 100, ""]
    parts = ["train"] * 8 + ["valid", "test", "train"]
    rows = "".join(f"{n},a,1,{x},{p}\n" for n, (x, p) in enumerate(zip(values, parts, strict=True)))
    text = f"user,item,y,x,part\n{rows}"
    data = opened(tmp_path, text, **NUMBERS, split="part", quantile_bins=("x",), n_bins=4)
    quarters = ["[, 3)"] * 2 + ["[3, 5)"] * 2 + ["[5, 7)"] * 2 + ["[7, )"] * 4
    assert field(data, "x") == [*quarters, None]
    whole = opened(tmp_path, text, **NUMBERS, drop_columns=("part",), quantile_bins=("x",), n_bins=2)
    assert set(field(whole, "x")) == {"[, 6)", "[6, )", None}
    same = opened(tmp_path, "user,item,y,x\n1,a,1,7\n2,a,0,7\n", **NUMBERS, quantile_bins=("x",), n_bins=3)
    assert field(same, "x") == ["[, )", "[, )"]
    seconds = "".join(f"{n},a,1,{1_700_000_000 + n}\n" for n in range(20))
    close = opened(tmp_path, f"user,item,y,x\n{seconds}", **NUMBERS, quantile_bins=("x",), n_bins=10)
    assert len(set(field(close, "x"))) == 10


@pytest.mark.parametrize("times", [("1414800000", "1414886399"), ("1414800000000", "1414886399000")])
def test_hours_and_weekdays_are_those_of_the_time(tmp_path, times):
    rows = "".join(f"{n},a,1,{t}\n" for n, t in enumerate(times))
    data = opened(tmp_path, f"user,item,y,t\n{rows}", **NUMBERS, time="t", time_features=("hour", "weekday"))
    assert (field(data, "hour"), field(data, "weekday")) == (["0", "23"], ["6", "6"])  # Saturday, 1 November 2014
    text = "user,item,y,t\n1,a,1,2014-11-01T17:30:00\n2,a,1,2014-11-02\n"
    written = opened(tmp_path, text, **NUMBERS, time="t", time_features=("hour", "weekday"))
    assert (field(written, "hour"), field(written, "weekday")) == (["17", "0"], ["6", "7"])


def test_texts_that_stand_for_nothing_are_missing_where_asked(tmp_path):
    text = "user,item,y,x,c\nNA,a,1,1.5,NA\n2,a,1,NA,q\n3,a,0,nan,r\n" + "4,b,0,2.5,q\n" * 20
    data = opened(tmp_path, text, **NUMBERS, na_values=("NA", "nan"))
    assert field(data, "user")[:2] == ["NA", "2"]
    assert field(data, "c")[:3] == [None, "q", "r"]
    assert [x is None for x in field(data, "x")[:4]] == [False, True, True, False]


def test_three_files_are_the_parts_of_a_split(tmp_path):
    for name, rows in (("valid.csv", "a,1,2,y\n"), ("test.csv", "b,0,3,z\n")):
        (tmp_path / name).write_text(f"item,y,user,x\n{rows}")  # in another order
    data = opened(
        tmp_path, "user,item,y,x\n1,a,1,y\n2,b,0,\n", **NUMBERS, valid="valid.csv", test="test.csv", min_count=2
    )
    assert data.split.tolist() == [0, 0, 1, 2]
    assert (field(data, "user"), field(data, "item")) == (["1", "2", "2", "3"], ["a", "b", "a", "b"])
    assert field(data, "x") == [None] * 4  # seen once in training
    assert data.label.tolist() == [1, 0, 1, 0]


def test_of_two_files_a_share_of_the_first_is_the_validation(tmp_path):
    (tmp_path / "test.csv").write_text("user,item,y\n1,zz,1\n")
    text = "user,item,y\n" + "".join(f"{n},a,1\n" for n in range(1000))
    data = opened(tmp_path, text, **NUMBERS, test="test.csv", validation=0.25)
    assert data.split[-1] == 2
    assert 200 < (data.split == 1).sum() < 300
    assert (data.split == 2).sum() == 1
    again = opened(tmp_path, text, **NUMBERS, test="test.csv", validation=0.25, seed=1)
    assert (again.split != data.split).any()
    (tmp_path / "test.csv").write_text("user,thing,y\n1,zz,1\n")
    with pytest.raises(DataError, match=r"test.csv has no column 'item'"):
        read(tmp_path, "my.csv", **NUMBERS, test="test.csv")


def test_a_column_of_one_value_is_said(tmp_path, caplog):
    opened(tmp_path, "user,item,y,k\n1,a,1,same\n2,b,0,same\n", **NUMBERS)
    assert "k: one value in all rows" in caplog.text


def test_a_folder_is_no_table(tmp_path):
    with pytest.raises(DataError, match="a table is a file, got the folder"):
        Csv(tmp_path, path=".")
    with pytest.raises(
        DataError, match=r"a file of this machine, got the address https://a\.org/b\.csv: fetch it first"
    ):
        Csv(tmp_path, path="https://a.org/b.csv")


def test_damaged_parquet_is_explained(tmp_path):
    parquet.write_table(pa.table({"x": list(range(100))}), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    with pytest.raises(DataError, match="no Parquet file, or it is damaged"):
        opened(tmp_path, data[:-20], "b.parquet")
    parquet.write_table(pa.table({"x": list(range(100))}), tmp_path / "a.parquet", write_page_checksum=True)
    flipped = bytearray((tmp_path / "a.parquet").read_bytes())
    flipped[len(flipped) // 4] ^= 1
    with pytest.raises(DataError, match=r"the Parquet file is damaged: .*c\.parquet"):
        opened(tmp_path, bytes(flipped), "c.parquet", drop_columns=())


def test_a_file_cut_within_a_line_is_flagged(tmp_path, caplog):
    opened(tmp_path, TEXT[:-1], **ROLES)
    assert "the last line of" in caplog.text
    assert caplog.text.count("does not end") == 1


def test_another_file_at_the_same_path_is_another_data_set(tmp_path):
    first = opened(tmp_path, TEXT, **ROLES)
    second = opened(tmp_path, TEXT.replace("007", "8"), **ROLES)
    assert first.fingerprint != second.fingerprint
    assert field(second, "user") == ["7", "8", "NA"]
    assert Path(tmp_path / "cache").is_dir()


def test_what_looks_like_a_decimal_comma_is_told(tmp_path, caplog):
    text = "y;price;name\n1;1,5;a,b\n0;2,25;c\n"
    opened(tmp_path, text, label="y")
    assert "price are taken for categories, and look like numbers with the decimal sign ','" in caplog.text
    caplog.clear()
    assert field(opened(tmp_path, text, label="y", decimal=",", standardize=False), "price") == [1.5, 2.25]
    assert "look like numbers" not in caplog.text


def test_times_are_told_as_dates(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        opened(tmp_path, "u,i,t\n1,a,-5\n1,b,1600000000\n", user="u", item="i", time="t")
    assert "times are from 1969-12-31 23:59:55 to 2020-09-13 12:26:40" in caplog.text


@pytest.mark.parametrize("standardize", [True, False])
def test_a_numeric_column_of_one_value_is_told(tmp_path, caplog, standardize):
    text = "y,x,z\n1,7.5,1\n0,7.5,2\n1,7.5,3\n"
    opened(tmp_path, text, label="y", numeric=("x", "z"), standardize=standardize)
    assert "x: one number in all training rows" in caplog.text
