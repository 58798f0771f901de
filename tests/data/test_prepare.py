from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fmlab import first_pass, prepare, tabular
from fmlab.checks import check
from fmlab.first_pass import Plan
from fmlab.meter import Meter
from fmlab.prepare import encode
from fmlab.tabular import Form, batches, recognise
from fmlab.vocabulary import Growing, Vocabulary, kept, numbers

WORDS = st.sampled_from(["", "a", "b", "B", "07", "7", "é", "long value", "x|y", "y|x|x", "|"])
TABLES = st.lists(st.tuples(WORDS, WORDS, st.sampled_from(["", "1", "-2.5", "1e3"])), min_size=1, max_size=40)


def write(path, rows):
    path.write_text("c,m,n\n" + "".join(",".join(r) + "\n" for r in rows), encoding="utf-8")
    return path


def encoded(path, plan, folder, block=tabular.BLOCK_BYTES):
    folder.mkdir(exist_ok=True)
    form = recognise(path, Form())
    return encode("t", batches(path, form, plan.columns, block=block), plan, folder, Meter("test", None))


def decoded(data, place):
    field, offset = data.schema.fields[place], data.schema.offsets[place]
    columns = [c for c, f in enumerate(data.schema.column_field) if f == place]
    keys = [None, *data.keys[field.name].tolist()]
    return [[k for k in (keys[i - offset] for i in row) if k is not None] for row in data.context.ids[:, columns]]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=TABLES, min_count=st.integers(1, 3), block=st.sampled_from([8, 40, 1 << 20]), text=st.integers(0, 500))
def test_encoding_and_decoding_give_the_table_back(tmp_path, monkeypatch, rows, min_count, block, text):
    """However the file is cut into blocks, and however many are encoded at a time; rare values are the only loss."""
    monkeypatch.setattr(prepare, "TEXT", text)
    monkeypatch.setattr(prepare, "ROWS", 7)
    if all(r == ("", "", "") for r in rows):
        rows = [("a", "a", "1"), *rows]
    plan = Plan(
        fields=dict.fromkeys("cmn", "context"), multi=("m",), numeric=("n",), min_count=min_count, standardize=False
    )
    data = encoded(write(tmp_path / "t.csv", rows), plan, tmp_path / "work", block)
    check(data)
    cells = [list(dict.fromkeys(p for p in m.split("|") if p)) for _, m, _ in rows]
    categories, tags = Counter(c for c, _, _ in rows), Counter(p for cell in cells for p in cell)
    assert decoded(data, 0) == [[c] if c and categories[c] >= min_count else [] for c, _, _ in rows]
    assert decoded(data, 1) == [[p for p in cell if tags[p] >= min_count] for cell in cells]
    assert (
        data.steps[0].features == sum(map(bool, categories)) + len(tags) + 4
    )  # unknown ones; a number is there or not
    there = data.context.ids[:, -1] - data.schema.offsets[2]
    assert there.tolist() == [int(n != "") for _, _, n in rows]
    np.testing.assert_array_equal(data.context.values[:, -1], [np.float32(n or 1) for _, _, n in rows])
    assert (data.context.values[:, :-1] == 1).all()


def test_features_keep_the_order_of_their_first_appearance(tmp_path):
    rows = [(c, "x", "1") for c in "zazbyz"]
    plan = Plan(fields={"c": "context"})
    for block in (4, 1000):
        data = encoded(write(tmp_path / "t.csv", rows), plan, tmp_path / "work", block)
        assert data.keys["c"].tolist() == ["z", "a", "b", "y"]
        assert data.context.ids[:, 0].tolist() == [1, 2, 1, 3, 4, 1]


def dictionary(*texts):
    return pa.array(texts, pa.string()).dictionary_encode()


def test_a_vocabulary_grows_over_batches_and_counts():
    words = Vocabulary()
    first = words.encode([dictionary("b", "a", "b"), dictionary("c", None, "a")])
    second = words.encode([dictionary(None, None), dictionary("d", "b")])
    assert [first.tolist(), second.tolist()] == [[1, 2, 1, 3, 0, 2], [0, 0, 4, 1]]
    assert words.keys.to_pylist() == ["b", "a", "c", "d"]
    assert words.counts.tolist() == [3, 3, 2, 1, 1]


def test_unused_entries_of_a_dictionary_are_no_features():
    words = Vocabulary()
    column = pa.DictionaryArray.from_arrays(pa.array([1, 1], pa.int32()), pa.array(["unused", "used"]))
    words.encode([column])
    assert kept(words.counts, 1).tolist() == [0, 0, 1]


def test_kept_values_move_up_in_order():
    assert kept([9, 5, 1, 2, 7], 2).tolist() == [0, 1, 0, 2, 3]
    assert kept([9, 1, 1], 2).tolist() == [0, 0, 0]


def test_numbers_are_read_once_for_each_distinct_text():
    values, bad = numbers(dictionary("1", None, "2.5", "x", "1", "inf", "1_0"))
    np.testing.assert_array_equal(values[[0, 1, 2, 4]], [1, np.nan, 2.5, 1])
    assert bad == ["x", "inf", "1_0"]
    assert numbers(dictionary("1,5"), ",")[0].tolist() == [1.5]


@pytest.mark.parametrize("columns", [None, 3])
def test_a_growing_file_is_an_ordinary_npy_file(tmp_path, columns):
    grown = Growing(tmp_path / "a.npy", np.int32, columns)
    expected = np.arange(12, dtype=np.int32) if columns is None else np.arange(12, dtype=np.int32).reshape(4, 3)
    grown.append(expected[:1])
    grown.append(np.asfortranarray(expected[1:].astype(np.int64)))
    assert isinstance(grown.close(), np.memmap)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), expected)


def test_memory_does_not_grow_with_rows(tmp_path, monkeypatch):
    """What waits is bounded, and what is written is gone."""
    batch = pa.RecordBatch.from_arrays([dictionary(*("ab" * 500))], ["c"])
    monkeypatch.setattr(prepare, "TEXT", 10 * batch.nbytes - 1)
    sizes, add = [], first_pass.FirstPass.add

    def counted(first, batches):
        sizes.append(len(batches))
        add(first, batches)

    monkeypatch.setattr(first_pass.FirstPass, "add", counted)
    data = encode("t", [batch] * 205, Plan(fields={"c": "context"}), tmp_path, Meter("test", None))
    assert sizes == [10] * 20 + [5]
    assert data.rows == 205_000
    assert data.schema.n_features == 3
    assert data.context.ids[-2:, 0].tolist() == [1, 2]
