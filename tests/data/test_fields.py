"""Vector and sequence fields: their schema, their tables, and what a store keeps of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from fmlab.data import Dataset, Field, Ragged, Schema
from fmlab.data.encoding.tables import encode_table
from fmlab.data.encoding.vectors import read_vectors, with_vectors
from fmlab.data.filtering import positives
from fmlab.data.store.serialization import pack, unpack
from fmlab.data.store.validation import check
from fmlab.errors import DataError

COLUMNS = (Field("user", "user", 4), Field("item", "item", 5))
LOG = {
    "who": ["a", "b", "a", "c"],
    "what": ["x", "y", "z", "x"],
    "when": [1, 2, 3, 4],
    "liked": [1, 0, 1, 1],
    "picture": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.5], [1.0, 2.0]],
    "before": [["x", "y", "x"], None, ["unheard", "x"], ["z"]],
    "words": [["p", "q", "p"], ["r"], [], None],
}


def log(folder: Path, **changes: object) -> Dataset:
    options = {"user": "who", "item": "what", "time": "when", "label": "liked", "item_fields": ["picture"]}
    options |= {"vectors": ["picture"], "sequences": {"before": "what", "words": ""}} | changes
    return encode_table("log", pa.table(LOG), folder, **options)


def test_a_schema_of_columns_alone_is_written_as_before() -> None:
    plain = Schema(COLUMNS, 3, 4).to_dict()
    assert set(plain) == {"fields", "n_users", "n_items"}
    assert set(plain["fields"][0]) == {"name", "side", "size", "slots", "numeric"}
    assert Schema.from_dict(plain) == Schema(COLUMNS, 3, 4)


def test_a_schema_says_vectors_and_sequences() -> None:
    text = Field("text", "item", 0, width=3)
    clicked = Field("clicked", "context", 0, sequence=True, vocabulary="item")
    words = Field("words", "item", 7, sequence=True)
    schema = Schema(COLUMNS, 3, 4, (text, clicked, words))
    assert Schema.from_dict(schema.to_dict()) == schema
    assert [f.kind for f in (*schema.fields, *schema.auxiliary)] == [*["categorical"] * 2, "vector", *["sequence"] * 2]
    assert (schema.n_columns, schema.n_features) == (2, 9), "they take no columns and no features of their own"
    assert schema.history == clicked
    assert (schema.ids_of(clicked), schema.ids_of(words)) == (range(4, 9), range(7))


@pytest.mark.parametrize(
    ("fields", "auxiliary"),
    [
        ((*COLUMNS, Field("text", "item", 0, width=3)), ()),
        (COLUMNS, (Field("site", "context", 4),)),
        (COLUMNS, (Field("before", "context", 5, sequence=True, vocabulary="item"),)),
        (COLUMNS, (Field("before", "context", 0, sequence=True),)),
        (COLUMNS, (Field("item", "item", 0, width=3),)),
    ],
)
def test_a_schema_that_contradicts_itself_is_refused(fields: tuple[Field, ...], auxiliary: tuple[Field, ...]) -> None:
    with pytest.raises(DataError):
        Schema(fields, 3, 4, auxiliary)


def test_columns_become_vectors_and_sequences(tmp_path: Path) -> None:
    made = log(tmp_path)
    check(made)
    assert [(f.name, f.side, f.kind) for f in made.schema.auxiliary] == [
        ("picture", "item", "vector"),
        ("before", "context", "sequence"),
        ("words", "context", "sequence"),
    ]
    np.testing.assert_array_equal(made.vectors["picture"], np.array([[1, 2], [3, 4], [5, 6.5]], np.float32))
    before, words = made.sequences["before"], made.sequences["words"]
    first = made.schema.offsets[1]
    assert [before[n].tolist() for n in range(4)] == [
        [first + 1, first + 2, first + 1],
        [],
        [first, first + 1],
        [first + 3],
    ], "order and repeats are kept, what is no item is unknown, and nothing is not unknown"
    assert [words[n].tolist() for n in range(4)] == [[1, 2, 1], [3], [], []]
    assert made.keys["words"].tolist() == ["p", "q", "r"]
    assert "1 ids of before (16.7% of its entries) are no values of item: unknown" in [s.name for s in made.steps]


def test_the_store_gives_them_back_memory_mapped(tmp_path: Path) -> None:
    made = log(tmp_path)
    arrays, plain = pack(made)
    folder = tmp_path / "stored"
    folder.mkdir()
    for stem, array in arrays.items():
        np.save(folder / f"{stem}.npy", array)
    back = unpack("log", folder, plain, "")
    assert back.schema == made.schema
    assert isinstance(back.vectors["picture"], np.memmap)
    np.testing.assert_array_equal(back.vectors["picture"], made.vectors["picture"])
    for name, lists in made.sequences.items():
        np.testing.assert_array_equal(back.sequences[name].ends, lists.ends)
        np.testing.assert_array_equal(back.sequences[name].ids, lists.ids)
    check(back)


def test_filters_take_them_along(tmp_path: Path) -> None:
    left = positives(log(tmp_path), 1, 0)  # without the row of user b and item y
    check(left)
    np.testing.assert_array_equal(left.vectors["picture"], np.array([[1, 2], [5, 6.5]], np.float32))
    first = left.schema.offsets[1]
    assert [left.sequences["before"][n].tolist() for n in range(3)] == [
        [first + 1, first, first + 1],
        [first, first + 1],
        [first + 2],
    ]


def test_min_count_is_of_vocabularies_of_sequences_too(tmp_path: Path) -> None:
    made = log(tmp_path, min_count=2, sequences={"words": ""}, item_fields=["picture"], ignore=["before"])
    assert made.keys["words"].tolist() == ["p"]
    assert made.sequences["words"][0].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("column", "cells", "message"),
    [
        ("picture", [[1.0, 2.0], [3.0], [5.0, 6.0], [1.0, 2.0]], "must be of one width, 2"),
        ("picture", [[1.0, float("nan")], [3.0, 4.0], [5.0, 6.0], [1.0, 2.0]], "of one width"),
        ("picture", [[1.0, float("inf")], [3.0, 4.0], [5.0, 6.0], [1.0, float("inf")]], "finite"),
        ("picture", [["1", "b"], ["3", "4"], ["5", "6"], ["1", "b"]], "must be numbers"),
        ("picture", [[1.0, 2.0], None, [5.0, 6.0], [1.0, 2.0]], "every item must have a vector 'picture', 1 of 3"),
        ("picture", [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [1.0, 3.0]], "one value for each item, item 'x' has several"),
    ],
)
def test_bad_vectors_are_refused(tmp_path: Path, column: str, cells: list[object], message: str) -> None:
    table = pa.table({**LOG, column: cells})
    options = {"user": "who", "item": "what", "item_fields": ["picture"], "ignore": ["before", "words"]}
    with pytest.raises(DataError, match=message):
        encode_table("log", table, tmp_path, vectors=["picture"], **options)


def test_a_vector_of_each_row_must_be_there(tmp_path: Path) -> None:
    table = pa.table({**LOG, "picture": [[1.0, 2.0], None, [5.0, 6.0], [1.0, 2.0]]})
    with pytest.raises(DataError, match="must have a vector in every row, data row 2 has none"):
        encode_table("log", table, tmp_path, user="who", vectors=["picture"], ignore=["before", "words"])


def test_vectors_come_by_id(tmp_path: Path) -> None:
    plain = log(tmp_path, vectors=[], sequences={}, ignore=["picture", "before", "words"], item_fields=[])
    made = with_vectors(plain, "text", "item", ["z", "extra", "y", "x"], np.arange(8).reshape(4, 2), tmp_path)
    check(made)
    assert made.vectors["text"].tolist() == [[6, 7], [4, 5], [0, 1]]
    assert isinstance(made.vectors["text"], np.memmap)


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        (["x", "y"], [[1, 2], [3, 4]], "every item must have a vector 'text', 1 of 3 have none, .* item 'z'"),
        (["x", "y", "z"], [[1, 2], [3], [4, 5]], "all of one width"),
        (["x", "y", "z"], [[1, 2], [3, np.nan], [4, 5]], "must be finite numbers, that of item 'y' is not"),
        (["x", "y", "y"], [[1, 2], [3, 4], [4, 5]], "different ids, 'y' is there twice"),
        (["x", "y"], [[1, 2], [3, 4], [4, 5]], "one id each, got 2 ids for 3 vectors"),
    ],
)
def test_bad_vectors_by_id_are_refused(tmp_path: Path, ids: list[str], vectors: list[object], message: str) -> None:
    plain = log(tmp_path, vectors=[], sequences={}, ignore=["picture", "before", "words"], item_fields=[])
    with pytest.raises(DataError, match=message):
        with_vectors(plain, "text", "item", ids, vectors, tmp_path)


def test_vectors_are_read_from_three_kinds_of_files(tmp_path: Path) -> None:
    wanted = np.array([[1, 2], [3, 4]], np.float32)
    np.savez(tmp_path / "a.npz", ids=np.array(["x", "y"]), vectors=wanted)
    np.save(tmp_path / "b.npy", wanted)
    np.save(tmp_path / "c.npy", wanted)
    (tmp_path / "c.ids.txt").write_text("x\ny\n", encoding="utf-8")
    pyarrow.parquet.write_table(pa.table({"id": ["x", "y"], "text": wanted.tolist()}), tmp_path / "d.parquet")
    for name, ids in (("a.npz", ["x", "y"]), ("b.npy", ["0", "1"]), ("c.npy", ["x", "y"]), ("d.parquet", ["x", "y"])):
        found, vectors = read_vectors(tmp_path / name)
        assert found == ids
        np.testing.assert_array_equal(np.asarray(vectors, np.float32), wanted)
    np.savez(tmp_path / "e.npz", names=np.array(["x"]))
    with pytest.raises(DataError, match=r"must hold the arrays ids and vectors"):
        read_vectors(tmp_path / "e.npz")


def test_validation_looks_at_them(tmp_path: Path) -> None:
    made = log(tmp_path)
    lists = made.sequences["words"]
    with pytest.raises(DataError, match="ids of 'words'"):
        check(replace(made, sequences={**made.sequences, "words": Ragged(lists.ends, np.array(lists.ids) + 9)}))
    with pytest.raises(DataError, match="vectors of 'picture' must be float32"):
        check(replace(made, vectors={"picture": made.vectors["picture"][:2]}))
    with pytest.raises(DataError, match="vectors must be those of the schema"):
        check(replace(made, vectors={}))


def test_ragged_lists_are_taken_in_any_order() -> None:
    lists = Ragged.of([[1, 2], [], [3], [4, 5, 6]])
    taken = lists.take(np.array([3, 1, 0, 3]))
    assert [taken[n].tolist() for n in range(4)] == [[4, 5, 6], [], [1, 2], [4, 5, 6]]
