"""Which side a field of a table goes to, what is refused as context, and which rows scales and counts come from."""

import logging
import zlib

import numpy as np
import pytest
from fmlab_datasets import field_sides as sides
from test_csv import field, opened, read

from fmlab.errors import DataError


def shop(titles, *, rows=400, users=40, items=20):
    """Random pairs with a column `title` that `titles(user, item, row)` writes, and the hour."""
    rng = np.random.default_rng(1)
    pairs = zip(rng.integers(0, users, rows), rng.integers(0, items, rows), rng.integers(0, 24, rows), strict=True)
    return "u,i,title,hour\n" + "".join(f"u{u},i{i},{titles(u, i, n)},{h}\n" for n, (u, i, h) in enumerate(pairs))


def side_of(data, name):
    return next(f.side for f in data.schema.fields if f.name == name)


@pytest.mark.parametrize(
    ("titles", "side"),
    [
        (lambda u, i, n: f"title {i}", "item"),
        (lambda u, i, n: f"{i / 7}", "item"),  # a numeric field
        (lambda u, i, n: f"x|{i % 3}|y", "item"),
        (lambda u, i, n: "" if i == 3 else f"brand {i % 4}", "item"),
        (lambda u, i, n: f"job {u % 5}", "user"),
        (lambda u, i, n: "same", "context"),
        (lambda u, i, n: f"{(u + i) % 4}", "context"),
        (lambda u, i, n: "other" if n == 399 else f"brand {i % 4}", "context"),  # the last row contradicts
    ],
)
def test_a_field_goes_to_the_side_that_determines_it(tmp_path, caplog, titles, side):
    with caplog.at_level(logging.INFO):
        data = opened(tmp_path, shop(titles), user="u", item="i")
    assert side_of(data, "title") == side
    assert side_of(data, "hour") == "context"
    moved = [f"title is a field of the {side}: one value for each"] if side != "context" else []
    assert [s.name for s in data.steps] == ["rows read", *moved]
    assert (f"title has one value for each {side}" in caplog.text) == bool(moved)


def test_a_field_across_blocks_is_seen_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(sides, "ROWS", 7)
    text = shop(lambda u, i, n: f"brand {i % 4}")
    assert side_of(opened(tmp_path, text, user="u", item="i"), "title") == "item"
    text = shop(lambda u, i, n: "other" if n == 399 else f"brand {i % 4}")
    assert side_of(opened(tmp_path, text, "b.csv", user="u", item="i"), "title") == "context"


def test_few_repeated_items_are_no_rule(tmp_path):
    pairs = [(u, i) for i in range(4) for u in range(3)]
    text = "u,i,title\n" + "".join(f"{u},{i},t{i % 2}\n" for u, i in pairs)
    assert side_of(opened(tmp_path, text, user="u", item="i"), "title") == "context"


def test_context_that_gives_the_item_away_is_refused_unless_allowed(tmp_path):
    by_item, offers = shop(lambda u, i, n: f"title {i % 10}"), shop(lambda u, i, n: f"offer {i} {u % 3}")
    with pytest.raises(
        DataError, match=r"'title' does: every item has one value.*item_fields=\[title\].*on_leak=allow"
    ):
        opened(tmp_path, by_item, user="u", item="i", context_fields=("title",))
    data = read(tmp_path, "my.csv", user="u", item="i", context_fields=("title",), on_leak="allow")
    assert side_of(data, "title") == "context"
    with pytest.raises(DataError, match=r"'title' does: every value of it comes with one item.*drop_columns=\[title\]"):
        opened(tmp_path, offers, user="u", item="i")
    assert side_of(read(tmp_path, "my.csv", user="u", item="i", on_leak="allow"), "title") == "context"
    with pytest.raises(DataError, match="one side, 'title' was given two"):
        read(tmp_path, "my.csv", user="u", item="i", context_fields=("title",), item_fields=("title",))


def test_scales_and_rare_values_are_those_of_training_rows_where_the_file_comes_split(tmp_path):
    rows = ["1,2,a,train", "0,4,a,train", "1,6,b,train", "0,900,b,test", "1,800,c,test", "0,700,c,valid"]
    text = "y,x,g,part\n" + "".join(f"{r}\n" for r in rows)
    options = {"label": "y", "numeric": ("x",), "categorical": ("g",)}
    data = opened(tmp_path, text, split="part", min_count=2, **options)
    np.testing.assert_allclose(field(data, "x")[:4], (np.array([2, 4, 6, 900]) - 4) / np.std([2, 4, 6]), rtol=1e-6)
    assert field(data, "g") == ["a", "a", None, None, None, None]
    assert data.steps[-1].name == "features seen fewer than 2 times in training rows are unknown"
    once = read(tmp_path, "my.csv", split="part", **options)
    assert field(once, "g") == ["a", "a", "b", "b", None, None]
    assert [(s.name, s.features) for s in once.steps] == [
        ("rows read", 6),  # a, b, c and unknown, a number and missing
        ("features of no training row are unknown", 5),
    ]
    every = read(tmp_path, "my.csv", min_count=2, drop_columns=("part",), **options)
    assert field(every, "g") == ["a", "a", "b", "b", "c", "c"]
    whole = [2, 4, 6, 900, 800, 700]
    assert field(every, "x")[0] == pytest.approx((2 - np.mean(whole)) / np.std(whole))


def test_hashing_puts_equal_values_into_one_of_few_buckets(tmp_path):
    rows = [(n % 7, n % 11, f"v{n % 50}" if n % 9 else "") for n in range(300)]
    text = "u,i,g\n" + "".join(f"{u},{i},{g}\n" for u, i, g in rows)
    data = opened(tmp_path, text, user="u", item="i", buckets=16)
    expected = [str(zlib.crc32(g.encode()) % 16) if g else None for _, _, g in rows]
    assert field(data, "g") == expected
    assert field(data, "user") == [str(u) for u, _, _ in rows]
    assert next(f.size for f in data.schema.fields if f.name == "g") == 1 + len({*expected} - {None}) <= 17


def test_users_and_items_of_the_test_alone_stay_known(tmp_path):
    text = "u,i,part\n1,a,train\n2,b,valid\n3,c,test\n"
    data = opened(tmp_path, text, user="u", item="i", split="part")
    assert (field(data, "user"), field(data, "item")) == (["1", "2", "3"], ["a", "b", "c"])
