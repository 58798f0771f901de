import gc
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fmlab.data import Table
from fmlab.data.encoding import dataset_encoding as prepare
from fmlab.data.encoding import first_pass
from fmlab.data.encoding.dataset_encoding import encode
from fmlab.data.encoding.number_parsing import parse_numbers
from fmlab.data.encoding.plan import Plan
from fmlab.data.encoding.progress import ProgressBar
from fmlab.data.encoding.vocabulary import CodeStore, NpyAppender, Vocabulary, kept
from fmlab.data.raw import table as tabular
from fmlab.data.raw.table import TableFormat, batches, detect_format
from fmlab.data.raw.text_blocks import blocks
from fmlab.data.store import validation as checks
from fmlab.data.store.validation import check
from fmlab.errors import DataError

WORDS = st.sampled_from(["", "a", "b", "B", "07", "7", "é", "long value", "x|y", "y|x|x", "|"])
TABLES = st.lists(st.tuples(WORDS, WORDS, st.sampled_from(["", "1", "-2.5", "1e3"])), min_size=1, max_size=40)


def write(path, rows):
    path.write_text("c,m,n\n" + "".join(",".join(r) + "\n" for r in rows), encoding="utf-8")
    return path


def encoded(path, plan, folder, block=tabular.BLOCK_BYTES):
    folder.mkdir(exist_ok=True)
    form = detect_format(path, TableFormat())
    return encode(
        "t", batches(path, form, plan.columns, block=block, text_columns=["c"]), plan, folder, ProgressBar("test", None)
    )


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


def test_plain_text_gets_the_same_codes_as_a_dictionary():
    texts = [["b", "a", None], [], ["c", None, "b"], ["d"], ["a", "é"]]
    plain, coded, mixed = Vocabulary(), Vocabulary(), Vocabulary()
    for group in (texts[:1], texts[1:2], texts[2:]):
        expected = coded.encode([dictionary(*t) for t in group])
        np.testing.assert_array_equal(plain.encode([pa.array(t, pa.string()) for t in group]), expected)
        both = [dictionary(*t) if n % 2 else pa.array(t, pa.string()) for n, t in enumerate(group)]
        np.testing.assert_array_equal(mixed.encode(both), expected)
    assert plain.keys.to_pylist() == coded.keys.to_pylist() == mixed.keys.to_pylist() == ["b", "a", "c", "d", "é"]
    assert plain.counts.tolist() == coded.counts.tolist() == mixed.counts.tolist() == [2, 2, 2, 1, 1, 1]


def test_codes_are_as_narrow_as_their_vocabulary():
    words = Vocabulary()
    kinds = [words.encode([dictionary(*map(str, range(n)))]).dtype for n in (255, 256, 70_000)]
    assert kinds == [np.uint8, np.uint16, np.uint32]


def test_texts_that_hardly_repeat_come_plain_where_they_may(tmp_path):
    rows = [(f"{n:03}" if n % 7 else "", "xy"[n % 2], str(n % 3)) for n in range(60)]
    path = write(tmp_path / "t.csv", rows)
    found = list(batches(path, detect_format(path), ["c", "m"], block=64, text_columns=["c", "m"]))
    kinds = [pa.types.is_string(b["c"].type) for b in found]
    assert kinds == [False, *[True] * (len(found) - 1)]
    assert not any(pa.types.is_string(b["m"].type) for b in found)
    assert [t or "" for b in found for t in b["c"].to_pylist()] == [c for c, _, _ in rows]
    assert all(pa.types.is_dictionary(c.type) for b in batches(path, detect_format(path), ["c"], block=64) for c in b)


def test_an_open_quote_in_plain_text_is_found(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("c\n" + "".join(f"{n}\n" for n in range(50)) + '"5\n6"\n7\n')
    with pytest.raises(DataError, match=r"column 'c' .* line break inside a value"):
        list(batches(path, detect_format(path), ["c"], block=64, text_columns=["c"]))


def test_codes_are_read_across_blocks(tmp_path):
    codes = CodeStore(tmp_path / "codes", 2)
    whole = np.array([[1, 2, 3, 300, 5, 70_000], [6, 5, 4, 3, 2, 1]])
    for start, stop, kinds in (
        (0, 3, (np.uint8, np.uint8)),
        (3, 4, (np.uint16, np.uint8)),
        (4, 6, (np.uint32, np.uint16)),
    ):
        codes.append([row[start:stop].astype(kind) for row, kind in zip(whole, kinds, strict=True)], stop - start)
    codes.close()
    for start in range(6):
        for stop in range(start, 8):
            np.testing.assert_array_equal(codes.read([1, 0], start, stop), whole[::-1, start:stop])
    assert len(codes.column(0)) == 6
    np.testing.assert_array_equal(codes.column(0)[2:5], [3, 300, 5])


def test_memory_of_blocks_is_used_again_and_long_lines_get_more(tmp_path):
    path, read = tmp_path / "t.txt", []
    lines = ["head", "a" * 5, "b" * 100, *(str(n) * 3 for n in range(50)), "é" * 9]
    path.write_text("\n".join(lines))
    for encoding in ("utf-8", "UTF8", "latin-1"):
        path.write_text("\n".join(lines), encoding)
        for size in (1, 7, 64, 10_000):
            found = [bytes(b).decode() for b in blocks(path, "", encoding, True, read.append, size)]
            assert "".join(found) == "\n".join(lines[1:])
            assert all(b.endswith("\n") for b in found[:-1])
    assert sum(read) == 4 * (2 * len("\n".join(lines).encode()) + len("\n".join(lines)))


def test_the_usual_memory_pool_comes_back(tmp_path):
    before, made = pa.default_memory_pool(), []
    pa.set_memory_pool(pa.system_memory_pool())

    def stream():
        made.append(pa.default_memory_pool().backend_name)
        yield pa.RecordBatch.from_arrays([dictionary("a")], ["c"])
        raise DataError("bad")

    try:
        with pytest.raises(DataError, match="bad"):
            encode("t", stream(), Plan(fields={"c": "context"}), tmp_path, ProgressBar("test", None))
        assert pa.default_memory_pool().backend_name == "system"
    finally:
        pa.set_memory_pool(before)
    assert made == ["jemalloc" if "jemalloc" in pa.supported_memory_backends() else "system"]


@pytest.mark.parametrize("row", range(5))
@pytest.mark.parametrize("wrong", [0, 3])
def test_a_feature_of_another_field_is_found_in_any_row(tmp_path, monkeypatch, row, wrong):
    monkeypatch.setattr(checks, "STRIP", 2)
    batch = pa.RecordBatch.from_arrays([dictionary(*"ababa"), dictionary(*"xyxyx")], ["c", "d"])
    data = encode("t", [batch], Plan(fields=dict.fromkeys("cd", "context")), tmp_path, ProgressBar("test", None))
    ids = np.array(data.context.ids)
    ids[row, 1] = wrong + 3 * (wrong > 0)
    with pytest.raises(DataError, match="features of field 'd' must be in"):
        check(replace(data, context=Table(ids)))


def test_unused_entries_of_a_dictionary_are_no_features():
    words = Vocabulary()
    column = pa.DictionaryArray.from_arrays(pa.array([1, 1], pa.int32()), pa.array(["unused", "used"]))
    words.encode([column])
    assert kept(words.counts, 1).tolist() == [0, 0, 1]


def test_kept_values_move_up_in_order():
    assert kept([9, 5, 1, 2, 7], 2).tolist() == [0, 1, 0, 2, 3]
    assert kept([9, 1, 1], 2).tolist() == [0, 0, 0]


def test_numbers_are_read_once_for_each_distinct_text():
    values, bad = parse_numbers(dictionary("1", None, "2.5", "x", "1", "inf", "1_0"))
    np.testing.assert_array_equal(values[[0, 1, 2, 4]], [1, np.nan, 2.5, 1])
    assert bad == ["x", "inf", "1_0"]
    assert parse_numbers(dictionary("1,5"), ",")[0].tolist() == [1.5]


@pytest.mark.parametrize("columns", [None, 3])
def test_a_growing_file_is_an_ordinary_npy_file(tmp_path, columns):
    grown = NpyAppender(tmp_path / "a.npy", np.int32, columns)
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
    data = encode("t", [batch] * 205, Plan(fields={"c": "context"}), tmp_path, ProgressBar("test", None))
    assert sizes == [10] * 20 + [5]
    assert data.rows == 205_000
    assert data.schema.n_features == 3
    assert data.context.ids[-2:, 0].tolist() == [1, 2]


def test_preparation_that_fails_leaves_no_file_open(tmp_path):
    files = [NpyAppender(tmp_path / "a.npy", np.int32)._file, CodeStore(tmp_path / "codes", 1)._file]
    gc.collect()
    assert [file.closed for file in files] == [True, True]
