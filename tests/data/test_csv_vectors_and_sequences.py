"""Vectors and sequences of a table of one's own: lists of Parquet and JSON, JSON arrays in text, separated text."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fmlab_datasets.csv import Csv

from fmlab.data import Dataset
from fmlab.data.raw.cells import ordered
from fmlab.errors import DataError

RNG = np.random.default_rng(0)
ROWS = 30
USER, ITEM = [f"u{n % 5}" for n in range(ROWS)], [f"i{n % 7}" for n in range(ROWS)]
VECTOR = [[round(float(v), 3) for v in RNG.normal(size=3)] for _ in range(ROWS)]
CONTENT = {f"i{n}": [n / 4, -n / 2] for n in range(7)}
PAST = [[f"i{(n * k) % 9}" for k in range(n % 4)] for n in range(ROWS)]  # i7 and i8 are no items
WORDS = {f"u{n}": ["the", "cat", "the", f"w{n}"][: n + 1] for n in range(5)}
OPTIONS: dict[str, Any] = {
    **{"user": "user", "item": "item", "label": "y"},
    **{"vectors": ["here", "content"], "sequences": ["words"], "item_sequences": ["past"]},
    **{"user_fields": ["words"], "item_fields": ["content"]},
}


def frame() -> pd.DataFrame:
    columns = {"user": USER, "item": ITEM, "y": [n % 2 for n in range(ROWS)], "hour": [n % 3 for n in range(ROWS)]}
    lists = {"here": VECTOR, "content": [CONTENT[i] for i in ITEM], "past": PAST, "words": [WORDS[u] for u in USER]}
    return pd.DataFrame({**columns, **lists})


def written(form: str, table: pd.DataFrame, folder: Path) -> Path:
    path = folder / f"rows.{form.removesuffix('-json').removesuffix('-text')}"
    if form == "parquet":
        table.to_parquet(path)
    elif form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_dict("records")))
    else:
        spell = json.dumps if form == "csv-json" else (lambda values: "|".join(map(str, values)))
        lists = {c: table[c].map(spell) for c in ("here", "content", "past", "words")}
        table.assign(**lists).to_csv(path, index=False)
    return path


def built(folder: Path, form: str, table: pd.DataFrame | None = None, **options: Any) -> Dataset:
    path = written(form, frame() if table is None else table, folder)
    made = Csv(folder, path=str(path), **{**OPTIONS, **options})
    (folder / "work").mkdir(exist_ok=True)
    return made.build({str(raw.path): path for raw in made.raw}, folder / "work")


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv-json", "csv-text"])
def test_vectors_and_sequences_are_those_of_the_table(tmp_path: Path, form: str) -> None:
    data = built(tmp_path, form)
    schema = data.schema
    assert [(f.name, f.side) for f in schema.vectors] == [("here", "context"), ("content", "item")]
    assert [(f.name, f.side) for f in schema.sequences] == [("words", "user"), ("past", "context")]
    np.testing.assert_allclose(data.vectors["here"], VECTOR, rtol=1e-6)
    items = [str(k) for k in data.keys["item"].tolist()]
    np.testing.assert_allclose(data.vectors["content"], [CONTENT[i] for i in items], rtol=1e-6)
    first = schema.offsets[[f.name for f in schema.fields].index("item")]
    for n, ids in enumerate(lists(data, "past")):
        assert ids == [first + (items.index(i) + 1 if i in items else 0) for i in PAST[n]]
    words, place = [str(k) for k in data.keys["words"].tolist()], {}
    for user, ids in zip(data.keys["user"].tolist(), lists(data, "words"), strict=True):
        for word, number in zip(WORDS[str(user)], ids, strict=True):
            assert place.setdefault(word, number) == number
    assert sorted(words) == sorted({w for one in WORDS.values() for w in one})
    assert [f.name for f in schema.fields] == ["user", "hour", "item"]


def lists(data: Dataset, name: str) -> list[list[int]]:
    ragged = data.sequences[name]
    ends = np.asarray(ragged.ends)
    return [np.asarray(ragged.ids[low:high]).tolist() for low, high in zip(np.r_[0, ends[:-1]], ends, strict=True)]


def test_rows_without_a_label_are_left_out_of_both_passes(tmp_path: Path) -> None:
    table = frame()
    table["y"] = table["y"].astype(object)
    table.loc[[2, 11], "y"] = None
    data = built(tmp_path, "csv-json", table, unlabeled="drop")
    assert data.rows == ROWS - 2
    np.testing.assert_allclose(data.vectors["here"], np.delete(VECTOR, [2, 11], 0), rtol=1e-6)
    assert [step.name for step in data.steps if "without a label" in step.name] == ["2 rows without a label left out"]


@pytest.mark.parametrize(
    ("change", "options", "why"),
    [
        ({}, {"vectors": ["here", "here"]}, "one role or kind"),
        ({}, {"numeric": ["here"]}, "one role or kind, 'here' was given two"),
        ({}, {"vectors": ["nowhere"]}, "nowhere"),
        ({}, {"item": "", "item_fields": []}, "hold items: give item="),
        ({"here": [[1.0, 2.0]] * 29 + [[1.0]]}, {}, "must be of one width, 2"),
        ({"here": [["a", "b"]] * 30}, {}, "must be numbers"),
        ({"content": [[float(n), 0.0] for n in range(30)]}, {}, "one value for each item"),
    ],
)
def test_what_is_no_vector_is_refused(tmp_path: Path, change: Any, options: Any, why: str) -> None:
    with pytest.raises(DataError, match=why):
        built(tmp_path, "csv-json", frame().assign(**change), **options)


@pytest.mark.parametrize(
    ("cell", "values"),
    [
        ("[1, 2.50, null]", ["1", "2.50"]),
        ('["a|b", "c"]', ["a|b", "c"]),
        ("[]", []),
        ("[a|b]", ["[a", "b]"]),
        ("[[1], 2]", ["[[1], 2]"]),
        ("[" * 100_000 + "]", ["[" * 100_000 + "]"]),
        ("3|4||5", ["3", "4", "5"]),
        ("\x1fx\x1fx", ["x", "x"]),
    ],
)
def test_cells_are_lists_arrays_or_text(cell: str, values: list[str]) -> None:
    assert ordered(cell, "|") == values
