"""Every data set that is not at hand here, on small files in its original format."""

import gzip
import json
import re

import formats
import numpy as np
import pytest
from formats import FORMATS, ITEMS, PAIRS, USERS, write, write_tar

from fmlab.data import Dataset, PositivesRule
from fmlab.data.encoding.progress import ProgressBar
from fmlab.data.filtering import positives
from fmlab.data.raw.archive import opened
from fmlab.data.store.cache import cached_dataset
from fmlab.errors import DataError
from fmlab.plugin.registry import build
from fmlab.testing import DataContract


def prepared(root, case, **more) -> Dataset:
    name, writer, options = FORMATS[case]
    writer(root)
    return again(root, name, **{**options, **more})


def again(root, name, **options) -> Dataset:
    return cached_dataset(build("data", {"name": name, **options}, root), name, options, root, root / "cache")


def cells(dataset, row) -> dict[str, list[str]]:
    """Raw values of a row by field; unknown and empty slots left out."""
    found: dict[str, list[str]] = {}
    for column, number in zip(dataset.schema.column_field, dataset.row_ids(np.array([row])).ids[0], strict=True):
        field, first = dataset.schema.fields[column], dataset.schema.offsets[column]
        found.setdefault(field.name, []).extend(
            [str(dataset.keys[field.name][number - first - 1])] if number > first else []
        )
    return found


@pytest.mark.parametrize("case", FORMATS)
class TestEveryFormat(DataContract):
    @pytest.fixture
    def dataset(self, tmp_path, case) -> Dataset:
        self.case = case
        return self.make(tmp_path)

    def make(self, folder) -> Dataset:
        return prepared(folder, self.case)


def test_amazon_reviews_keep_ratings_times_and_the_leaf_of_the_first_path(tmp_path):
    data = prepared(tmp_path, "amazon-auto")
    assert (data.rows, data.schema.n_users, data.schema.n_items) == (len(PAIRS), USERS, ITEMS)
    u, i = PAIRS[5]
    assert cells(data, 5) == {"user": [f"A{u}"], "item": [f"000{i}"], "category": [f"Kind {i % 3}"]}
    assert data.label[5] == 1 + (u + i) % 5
    assert data.time[5] == (1393545600 + 100 * u + i) * 1_000_000
    last = next(n for n, (_, i) in enumerate(PAIRS) if i == ITEMS - 1)
    assert cells(data, last)["category"] == []  # it has no metadata
    whole = prepared(tmp_path / "b", "amazon-auto path")
    assert cells(whole, 5)["category"] == ["Automotive", "Tools & Equipment", f"Kind {i % 3}", "Other"]
    printed = {(figure.paper, figure.statistic): figure.value for figure in data.published}
    assert printed["gml-fm", "users"] == 2928
    assert ("hyperml", "users") in printed


def test_amazon_sequences_are_in_order_of_time_without_times(tmp_path):
    data = prepared(tmp_path, "amazon-beauty")
    assert [cells(data, n)["user"] + cells(data, n)["item"] for n in range(data.rows)] == [
        [str(u + 1), str(i + 1)] for u, i in PAIRS
    ]
    assert data.time is None
    assert cells(data, 0)["category"] == [str(PAIRS[0][1] % 2 + 1), "3"]


def test_amazon_splits_are_a_given_split_and_reviews_are_preferred_to_them(tmp_path):
    data = prepared(tmp_path, "amazon-office")
    assert np.bincount(data.split).tolist() == [len(PAIRS[n::3]) for n in range(3)]
    formats.amazon_reviews(tmp_path, "Office_Products")
    assert again(tmp_path, "amazon-office").time is not None
    assert again(tmp_path, "amazon-office", layout="splits").time is None


def test_a_missing_amazon_set_names_the_published_address(tmp_path):
    source = build("data", {"name": "amazon-sports"}, tmp_path)
    assert source.raw[0].urls[0].endswith("reviews_Sports_and_Outdoors_5.json.gz")


def test_steam_has_twelve_columns_hours_and_no_user_twice(tmp_path):
    data = prepared(tmp_path, "steam")
    assert data.schema.n_columns == len(data.schema.fields) == 12
    assert data.rows == len(PAIRS)
    assert data.rule == PositivesRule(100, 20)
    u, i = PAIRS[10]
    assert data.label[10] == 10 * u + i
    found = cells(data, 10)
    assert found["publisher"] == ["O'Neil"]
    assert found["developer"] == ['The "Devs"']
    assert (found["price"], found["genres"], found["tags"]) == ([str(4.99 + i)], ["Action"], ["Fast"])
    three = prepared(tmp_path / "b", "steam slots")
    assert cells(three, 10)["tags"] == ["Fast", "Fun", "2D"]


def test_steam_keeps_a_hundred_hours_and_a_core_of_twenty(tmp_path):
    grid = [(u, i, 6000) for u in range(20) for i in range(20)]  # exactly 100 hours
    formats.steam(tmp_path, [*grid, (0, 20, 6000), (20, 0, 6000), *[(21, i, 5999) for i in range(20)]])
    data = again(tmp_path, "steam")
    kept = positives(data, data.rule.min_label, data.rule.core)
    assert (data.rows, kept.rows, kept.schema.n_users, kept.schema.n_items) == (422, 400, 20, 20)


def test_steam_200k_matches_games_by_letters_and_digits(tmp_path):
    data = prepared(tmp_path, "steam-200k")
    known, bare = (next(n for n, (_, i) in enumerate(PAIRS) if i == wanted) for wanted in (0, ITEMS - 1))
    assert cells(data, known)["publisher"] == ["O'Neil"]
    assert cells(data, bare)["publisher"] == []
    assert data.label[known] == sum(PAIRS[known]) + 0.5
    assert prepared(tmp_path / "b", "steam-200k purchase").label is None


def test_movielens_20m_leaves_out_users_with_few_ratings_and_says_so(tmp_path):
    data = prepared(tmp_path, "movielens-20m")
    count = np.bincount([u for u, _ in PAIRS])
    assert data.schema.n_users == (count >= 7).sum() < USERS
    assert data.rows == count[count >= 7].sum()
    assert next((s.name, s.rows, s.users) for s in data.steps) == ("all rows", len(PAIRS), USERS)
    odd = next(n for n in range(data.rows) if int(cells(data, n)["item"][0]) % 2)
    assert cells(data, odd)["genres"] == []


def test_tags_are_triples(tmp_path):
    data = prepared(tmp_path, "movielens-latest tags")
    u, i = PAIRS[3]
    assert cells(data, 3) == {"user": [str(u)], "movie": [str(i)], "item": [f"tag, {(u + i) % 4}"]}
    libfm = prepared(tmp_path / "b", "movielens-tag")
    assert cells(libfm, 3) == {"user": [str(u)], "movie": [str(100 + i)], "item": [str(200 + u * i % 5)]}
    assert np.bincount(libfm.split).tolist() == [len(PAIRS)] * 3
    assert libfm.label[3] == (1 if (u + i) % 3 else -1)


def test_avazu_drops_the_hour_or_parts_it(tmp_path):
    data = prepared(tmp_path, "avazu")
    assert data.schema.n_columns == 21
    assert cells(data, 3)["device_ip"] == []  # seen once
    assert cells(data, 3)["C14"] == ["15703"]
    assert data.time[3] == (1413849600 + 3 * 3600) * 1_000_000  # 21 October 2014, 3 o'clock
    parts = prepared(tmp_path / "b", "avazu parts")
    assert parts.schema.n_columns == 23
    assert (cells(parts, 3)["weekday"], cells(parts, 3)["clock"]) == (["2"], ["3"])  # a Tuesday
    assert cells(parts, 3)["device_ip"] == ["00000003"]


def test_criteo_numbers_above_two_become_squared_logarithms(tmp_path):
    numbers = [0, 1, 2, 3, 10, -1, 1000000, ""]
    text = "".join(formats.criteo_line(n % 2, [x], ["a"]) for n, x in enumerate(numbers))
    write(tmp_path / "train.txt", text)
    data = again(tmp_path, "criteo", min_count=1)
    got = [cells(data, n)["I1"] for n in range(len(numbers))]
    assert got == [["=0"], ["=1"], ["=2"], ["1"], ["5"], ["=-1"], ["190"], []]  # ln(10)^2 = 5.3, ln(1e6)^2 = 190.9
    assert prepared(tmp_path / "b", "criteo numeric").schema.numeric
    write(tmp_path / "train.txt", text.replace("1000000", "many"))
    with pytest.raises(DataError, match="'I1' must hold finite numbers, 1 values are none: 'many'"):
        again(tmp_path, "criteo")


def test_goodbooks_kkbox_and_yelp_join_what_is_known(tmp_path):
    data = prepared(tmp_path / "a", "goodbooks")
    assert cells(data, 0)["language"] == (["eng"] if PAIRS[0][1] else [])
    assert cells(data, 0)["authors"] == [f"A. B, C. D{PAIRS[0][1] % 2}"]
    data = prepared(tmp_path / "b", "kkbox")
    assert len([f for f in data.schema.fields if f.side == "user"]) == 7
    assert len([f for f in data.schema.fields if f.side == "item"]) == 6
    u, i = PAIRS[0]
    assert cells(data, 0)["gender"] == (["female"] if u % 2 else [])
    assert cells(data, 0)["genre_ids"] == [f"465|{i}"]
    assert cells(data, 0)["composer"] == ["董, 貞"]
    for case in ("yelp", "yelp archive"):
        data = prepared(tmp_path / case, case)
        row = next(n for n, (_, i) in enumerate(PAIRS) if i == 2)
        assert cells(data, row) == {
            "user": [f"u{PAIRS[row][0]}"],
            "item": ["b2"],
            "categories": ["Bars", "Food"],
            "city": ["Zürich"],
        }
        assert data.label[row] == 3


@pytest.mark.parametrize("case", ["steam", "steam-200k", "goodbooks"])
def test_user_and_item_may_be_named_among_fields_and_are_always_read(tmp_path, case):
    named = prepared(tmp_path, case, fields=["user", "item"])
    assert [f.name for f in named.schema.fields] == ["user", "item"]
    assert named.schema == prepared(tmp_path, case, fields=[]).schema
    with pytest.raises(DataError, match="no field 'users'; did you mean 'user'"):
        prepared(tmp_path, case, fields=["users"])


def test_mercari_leaves_out_users_with_fewer_than_five_items(tmp_path):
    data = prepared(tmp_path, "mercari-ticket")
    assert [s.users for s in data.steps] == [USERS + 1, USERS]
    assert data.schema.n_columns == 7
    assert "u99" not in data.keys["user"].tolist()


def test_an_adjacency_test_file_is_the_test_and_part_of_the_rest_the_validation(tmp_path):
    data = prepared(tmp_path, "gowalla", validation=0.3)
    train, valid, test = np.bincount(data.split)
    assert test == sum(i % 4 == 3 for _, i in PAIRS)
    assert 0 < valid < train
    assert again(tmp_path, "gowalla", validation=0.3, seed=1).split.tolist() != data.split.tolist()


def test_libfm_places_and_libffm_numbers_are_fields(tmp_path):
    data = prepared(tmp_path, "libfm")
    u, i = PAIRS[4]
    assert cells(data, 4)["user"] == [str(u)]
    assert [f.numeric for f in data.schema.fields] == [False, True, False]
    assert data.row_ids(np.array([4])).values[0, 1] == np.float32(u / 4)
    data = prepared(tmp_path / "b", "libffm")
    assert cells(data, 4) == {
        "who": [str(u)],
        "what": [str(50 + i)],
        "kind": [str(70 + i % 3), str(80 + i % 2)],
        "more": ["90"] * (u % 2),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0:1 1:1\n0 0:1\n1 0:1 1:1 2:1\n", None),
        ("1 0:1 1:0.5\n0 0:1 2:1\n", "has the value 0.5"),
        ("1,2,3\n", "holds no|has no rows|a row is"),
        ("1 a:b:c\n", "a row is"),
        ("", "empty"),
    ],
)
def test_malformed_libfm_files_are_refused(tmp_path, text, message):
    write(tmp_path / "a.libfm", text)
    if message is None:
        assert again(tmp_path, "libfm", train="a.libfm").rows == 3
    else:
        with pytest.raises(DataError, match=message):
            again(tmp_path, "libfm", train="a.libfm")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'user_id': 'a', 'items': [", "line 1"),
        ("__import__('os').system('true')", "line 1"),
        ("[" * 100_000, "line 1"),
        ("{'user_id': 'a'}", "`user_id` and a list `items`"),
        ("{'user_id': 'a', 'items': [{'item_id': '1', 'playtime_forever': 'long'}]}", "user a has"),
        ("<!DOCTYPE html><html>", "line 1"),
    ],
)
def test_lines_that_are_no_literals_are_refused_and_nothing_stays(tmp_path, line, message):
    formats.steam(tmp_path)
    write(tmp_path / "australian_users_items.json.gz", line)
    with pytest.raises(DataError, match=message):
        again(tmp_path, "steam")
    assert not [p for p in (tmp_path / "cache").iterdir() if p.is_dir() and p.name != "checksums"]


@pytest.mark.parametrize("case", [c for c, (n, _, _) in FORMATS.items() if c == n])
def test_a_file_cut_short_is_refused(tmp_path, case):
    """Packed files say so; of plain ones the last line lacks columns."""
    name, writer, options = FORMATS[case]
    writer(tmp_path)
    victim = max(
        (p for p in tmp_path.rglob("*") if p.suffix in (".gz", ".zip")), key=lambda p: p.stat().st_size, default=None
    )
    if victim is None:
        pytest.skip("distributed as plain text")
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size * 2 // 3])
    with pytest.raises(DataError):
        again(tmp_path, name, **options)


@pytest.mark.parametrize("case", ["kkbox", "goodbooks", "avazu", "gowalla", "meetup", "mercari-ticket", "yelp"])
def test_a_web_page_instead_of_data_is_refused(tmp_path, case):
    name, writer, options = FORMATS[case]
    writer(tmp_path)
    page = "<!DOCTYPE html>\n<html><head><title>Log in, please</title></head>\n<body>no data</body></html>\n"
    for path in tmp_path.rglob("*"):
        if path.is_file():
            write(path, page)
    with pytest.raises(DataError):
        again(tmp_path, name, **options)


@pytest.mark.parametrize("name", ["avazu", "criteo", "kkbox", "yelp", "meetup", "mercari-books", "steam-200k"])
def test_a_set_behind_a_login_says_what_to_get_and_where_to_put_it(tmp_path, name):
    with pytest.raises(DataError, match=rf"fetched by hand from .* put into {re.escape(str(tmp_path))}"):
        again(tmp_path, name)


def _linked(archive, name):
    info = formats.tarfile.TarInfo(name)
    info.type, info.linkname = formats.tarfile.SYMTYPE, "/etc/passwd"
    archive.addfile(info)


@pytest.mark.parametrize(
    ("member", "reason"),
    [("../evil", "leaves its folder"), ("/etc/evil", "absolute"), ("a\\..\\..\\b", "leaves its folder")],
)
def test_hostile_tar_archives_are_refused(tmp_path, member, reason):
    path = write_tar(tmp_path / "a.tar.gz", {member: b"x", "train.txt": b"y"})
    with pytest.raises(DataError, match=f"refused.*{reason}"), opened(path, "train.txt"):
        pass
    with formats.tarfile.open(path, "w:gz") as archive:
        _linked(archive, "train.txt")
    with pytest.raises(DataError, match="that is a link"), opened(path, "train.txt"):
        pass


def test_a_tar_archive_is_read_from_a_stream_and_its_damage_is_named(tmp_path):
    path = write_tar(tmp_path / "a.tgz", {"x/readme": b"r", "x/train.txt": b"data" * 1000})
    with opened(path, "train.txt") as file:
        assert file.read() == b"data" * 1000
    with pytest.raises(DataError, match=r"has no file 'other'; it holds: x/readme, x/train.txt"), opened(path, "other"):
        pass
    path.write_bytes(gzip.compress(b"no tar"))
    with pytest.raises(DataError, match="damaged"), opened(path, "train.txt"):
        pass


def test_literals_are_read_as_python_reads_them():
    import ast

    from fmlab_datasets.python_literals import parse

    rows = [
        {"a": "it's", "b": 'say "x"', "c": [True, None, -1.5e3], "d": {"e": "tab\t\\ back"}, "é": "ü☞"},
        {"true": "True None", "x": "a: 'b', \"c\"", "y": (), "z": {1: 2}},
        {"nested": [[{"k": "}"}]], "empty": ""},
    ]
    for row in rows:
        assert parse(repr(row)) == ast.literal_eval(repr(row)) == row
        assert parse("{u'k': " + repr(row) + "}") == {"k": row}
    assert parse(json.dumps(rows[0])) == rows[0]


def test_leaving_out_all_users_names_the_option(tmp_path):
    with pytest.raises(
        DataError, match=rf"fewer than data.min_interactions rows are left out, which leaves none of {len(PAIRS)}"
    ):
        prepared(tmp_path, "movielens-20m", min_interactions=100)


@pytest.mark.parametrize("case", ["avazu", "criteo", "kkbox", "movielens-20m", "movielens-latest"])
def test_large_sets_know_how_far_they_are(tmp_path, monkeypatch, case):
    made = []
    real = ProgressBar.__init__
    monkeypatch.setattr(
        ProgressBar, "__init__", lambda self, what, total: (real(self, what, total), made.append(self))[0]
    )
    prepared(tmp_path, case)
    (meter,) = made
    assert 0 < meter.bytes <= meter.total


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_attributes_of_sequences_are_found_packed_or_not(tmp_path, packed):
    formats.amazon_sequences(tmp_path, packed=packed)
    formats.yelp_sequences(tmp_path, packed)
    beauty, yelp = again(tmp_path, "amazon-beauty"), again(tmp_path, "yelp")
    lists = "amazon/Beauty/Beauty{}"
    options = {"path": lists.format(".txt.gz"), "attributes": lists.format(f"_item2attributes.json{packed}")}
    own = again(tmp_path, "adjacency", **options)
    for data, name in ((beauty, "category"), (yelp, "categories"), (own, "attributes")):
        item = int(data.keys["item"][data.item[7]])
        assert cells(data, 7)[name] == [str((item - 1) % 2 + 1), "3"]
    assert "categories" not in [f.name for f in again(tmp_path, "yelp", categories=False).schema.fields]


def test_a_split_of_sequences_has_attributes_too(tmp_path):
    formats.gowalla(tmp_path)
    (tmp_path / "tags.json").write_text(json.dumps({str(i): ["R&B|Soul", i] for i in range(ITEMS - 1)}))
    paths = {"path": "gowalla/train.txt", "test": "gowalla/test.txt"}
    data = again(tmp_path, "adjacency", attributes="tags.json", **paths)
    item = cells(data, 0)["item"][0]
    assert cells(data, 0)["attributes"] == ["R&B|Soul", item]
    assert data.split is not None
    (tmp_path / "tags.json").write_text("[1]")
    with pytest.raises(DataError, match="must hold one JSON object, item -> list of attributes"):
        again(tmp_path, "adjacency", attributes="tags.json", **paths)


def test_a_name_with_the_separator_of_other_files_stays_one(tmp_path):
    writer = formats.yelp_lines

    def named():
        return {n: t.replace(b'"Bars", "K1"', b'"Bars|Clubs", "K1"') for n, t in writer().items()}

    formats.yelp_lines = named
    try:
        data = prepared(tmp_path, "yelp")
    finally:
        formats.yelp_lines = writer
    assert "Bars|Clubs" in data.keys["categories"].tolist()
