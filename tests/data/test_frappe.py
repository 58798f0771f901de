import numpy as np
import pytest
from data_cases import write_zip
from fmlab_datasets.frappe import COLUMNS, Frappe

from fmlab.data.store.cache import cached_dataset
from fmlab.errors import DataError

HEADER = "label," + ",".join(COLUMNS)
ROWS = {
    "train": [(1, 0, 10, 20, 30, 40, 50, 60, 70, 80, 90), (0, 0, 9, 20, 30, 40, 50, 60, 70, 80, 90)],
    "valid": [(0, 2, 10, 21, 30, 40, 50, 60, 70, 80, 91)],
    "test": [(1, 1, 11, 20, 31, 40, 51, 60, 70, 80, 100)],
}


def write_x1(root, header=HEADER, extra=""):
    texts = {f"{p}.csv": "\n".join([header, *(",".join(map(str, r)) for r in rows)]) for p, rows in ROWS.items()}
    texts["test.csv"] += extra
    return write_zip(root / "Frappe_x1.zip", {n: f"{t}\n".encode() for n, t in texts.items()})


def libfm(rows, end="\n"):
    return "".join(f"{1 if r[0] else -1} " + " ".join(f"{v}:1" for v in r[1:]) + end for r in rows).encode()


def opened(root, **options):
    return cached_dataset(Frappe(root, **options), "frappe", options, root, root / "cache")


def raw_values(dataset):
    table = dataset.row_ids(np.arange(dataset.rows)).ids
    fields, offsets = dataset.schema.fields, dataset.schema.offsets
    read = [{f.name: str(dataset.keys[f.name][row[c] - offsets[c] - 1]) for c, f in enumerate(fields)} for row in table]
    return [tuple(row[c] for c in COLUMNS) for row in read]


def expected():
    return [tuple(map(str, row[1:])) for rows in ROWS.values() for row in rows]


def test_x1_keeps_rows_labels_and_split(tmp_path):
    write_x1(tmp_path)
    data = opened(tmp_path)
    assert raw_values(data) == expected()
    assert data.label.tolist() == [1, 0, 0, 1]
    assert data.split.tolist() == [0, 0, 1, 2]
    assert [f.side for f in data.schema.fields] == ["user"] + ["context"] * 8 + ["item"]
    assert data.keys["city"].tolist() == ["90", "91", "100"]  # sorted as numbers


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("packed", [True, False])
def test_libfm_files_hold_the_same_data(tmp_path, end, packed):
    write_x1(tmp_path)
    parts = {"train": "train", "validation": "valid", "test": "test"}
    files = {f"frappe.{n}.libfm": libfm(ROWS[p], end) for n, p in parts.items()}
    if packed:
        write_zip(tmp_path / "frappe" / "frappe_libfm.zip", files)
    else:
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
    x1, other = opened(tmp_path), opened(tmp_path, layout="libfm")
    for name in ("user", "item", "label", "split"):
        np.testing.assert_array_equal(getattr(x1, name), getattr(other, name))
    np.testing.assert_array_equal(x1.context.ids, other.context.ids)


def test_the_log_is_all_positives_with_values_as_written(tmp_path):
    names = ["user", "item", "cnt", *COLUMNS[2:]]
    rows = [
        ["9", "7", "1", "morning", "sunday", "weekend", "unknown", "free", "sunny", "United States", "0"],
        ["10", "7", "9", "night", "monday", "workday", "home", "paid", "unknown", "Côte", "12"],
    ]
    text = "\n".join("\t".join(r) for r in [names, *rows]) + "\n"
    write_zip(tmp_path / "Mobile_Frappe.zip", {"Mobile_Frappe/frappe/frappe.csv": text.encode()})
    data = opened(tmp_path, layout="raw")
    assert raw_values(data) == [tuple([r[0], r[1], *r[3:]]) for r in rows]
    assert data.keys["user"].tolist() == ["9", "10"]  # sorted as numbers
    assert data.label is None
    assert data.split is None


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"header": HEADER.replace("item", "app")}, "must have the columns label,user,item"),
        ({"extra": "\n1,2,3"}, r"test.csv in .* Row #2: Expected 11 columns, got 3"),
        ({"extra": "\n" + ",".join("x" * 11)}, "test.csv in .* is malformed"),
    ],
)
def test_malformed_parts_are_named(tmp_path, wrong, text):
    write_x1(tmp_path, **wrong)
    with pytest.raises(DataError, match=text):
        opened(tmp_path)


def test_the_log_must_be_fetched_by_hand(tmp_path):
    with pytest.raises(DataError, match=r"by hand from http://baltrunas.info"):
        opened(tmp_path, layout="raw")


@pytest.mark.slow
@pytest.mark.parametrize(("form", "rows"), [("x1", 288_609), ("libfm", 288_609), ("raw", 96_203)])
def test_the_real_files_have_the_published_counts(real, tmp_path, form, rows):
    data = cached_dataset(Frappe(real, layout=form), "frappe", {"layout": form}, real, tmp_path)
    assert data.rows == rows
    assert sum(f.size - 1 for f in data.schema.fields) == 5382
    if data.split is not None:
        assert np.bincount(data.split).tolist() == [202_027, 57_722, 28_860]
