import gzip

import numpy as np
import pytest
from data_cases import write_zip
from fmlab_datasets.movielens import ORDER_FILE, MovieLens1M, MovieLens100K

from fmlab.data.filtering import positives
from fmlab.data.store.cache import cached_dataset
from fmlab.errors import DataError

USERS = "1::F::1::10::48067\n2::M::56::16::70072\n3::M::25::15::48067-1234\n4::M::25::15::48067\n"
MOVIES = (
    "1::Toy Story (1995)::Animation|Children's|Comedy\n"
    "2::Léon: The Professional (a.k.a. The Professional) (1994)::Crime\n"
    "3::Never Rated (1999)::Drama\n"
    "10::GoldenEye (1995)::Crime|Animation\n"
)
RATINGS = "2::10::5::978300760\n1::1::3::978302109\n1::2::4::978302109\n1::10::1::978302109\n4::1::4::978302110\n"


def write_1m(root, users=USERS, movies=MOVIES, ratings=RATINGS, name="ml-1m.zip"):
    texts = {"ml-1m/users.dat": users, "ml-1m/movies.dat": movies, "ml-1m/ratings.dat": ratings, "ml-1m/README": ""}
    return write_zip(root / name, {n: t.encode("latin-1") for n, t in texts.items()})


def opened(root, source=MovieLens1M, name="movielens-1m", **options):
    return cached_dataset(source(root, **options), name, options, root, root / "cache")


def rows_as_text(dataset):
    """Every row as the raw values of its fields: an oracle that knows nothing of numbers."""
    schema, table = dataset.schema, dataset.row_ids(np.arange(dataset.rows)).ids
    found = []
    for row in table:
        values = {}
        for column, feature in enumerate(row):
            place = schema.column_field[column]
            field, code = schema.fields[place], int(feature) - schema.offsets[place]
            values.setdefault(field.name, []).append(str(dataset.keys[field.name][code - 1]) if code else None)
        found.append({n: v[0] if len(v) == 1 else {x for x in v if x} for n, v in values.items()})
    return found


def test_every_rating_keeps_its_values(tmp_path):
    write_1m(tmp_path)
    data = opened(tmp_path, zip="full")
    rows = rows_as_text(data)
    assert rows[0] == {
        "user": "2",
        "gender": "M",
        "age": "56",
        "occupation": "16",
        "zip": "70072",
        "item": "10",
        "genres": {"Crime", "Animation"},
    }
    assert [(r["user"], r["item"]) for r in rows] == [("2", "10"), ("1", "1"), ("1", "2"), ("1", "10"), ("4", "1")]
    assert rows[1]["genres"] == {"Animation", "Children's", "Comedy"}
    assert data.label.tolist() == [5, 3, 4, 1, 4]
    assert (data.time / 1e6).tolist() == [978300760, 978302109, 978302109, 978302109, 978302110]
    assert (data.rule.min_label, data.rule.core) == (3.5, 5)


def test_columns_are_the_twelve_of_the_paper_and_unrated_movies_are_left_out(tmp_path):
    write_1m(tmp_path)
    data = opened(tmp_path)
    assert data.schema.n_columns == 12
    assert [f.side for f in data.schema.fields] == ["user"] * 5 + ["item"] * 2
    assert data.keys["item"].tolist() == ["1", "2", "10"]
    assert data.schema.n_users == 4
    assert data.keys["age"].tolist() == ["1", "25", "56"]


@pytest.mark.parametrize(
    ("rule", "keys"),
    [
        ("full", ["48067", "48067-1234", "70072"]),
        ("prefix3", ["480", "700"]),
        ("prefix2", ["48", "70"]),
        ("frequent", []),
    ],
)
def test_zip_codes_are_read_as_asked(tmp_path, rule, keys):
    write_1m(tmp_path)
    assert opened(tmp_path, zip=rule).keys["zip"].tolist() == keys


def test_frequent_zip_codes_are_those_of_five_users(tmp_path):
    users = "".join(f"{n}::F::1::0::{'11111' if n <= 5 else '22222'}\n" for n in range(1, 10))
    write_1m(tmp_path, users=users)
    data = opened(tmp_path, zip="frequent")
    assert data.keys["zip"].tolist() == ["11111"]
    assert [r["zip"] for r in rows_as_text(data)] == ["11111"] * 5


def test_fields_can_be_chosen_and_genres_taken_as_one_value(tmp_path):
    write_1m(tmp_path)
    data = opened(tmp_path, fields=("item", "genres", "user"), genres="string")
    assert [f.name for f in data.schema.fields] == ["user", "item", "genres"]
    assert opened(tmp_path, fields=("genres",), genres="string").schema == data.schema
    assert data.keys["genres"].tolist() == ["Animation|Children's|Comedy", "Crime", "Crime|Animation"]
    assert rows_as_text(data)[0]["genres"] == "Crime|Animation"


@pytest.mark.parametrize(
    ("fields", "text"), [(("user", "item", "genre"), "did you mean 'genres'"), (("items",), "did you mean 'item'")]
)
def test_fields_that_are_not_there_are_refused(tmp_path, fields, text):
    with pytest.raises(DataError, match=text):
        MovieLens1M(tmp_path, fields=fields)


def test_the_side_file_settles_the_order_within_a_second(tmp_path):
    write_1m(tmp_path)
    (tmp_path / "ml-1m-extra").mkdir()
    (tmp_path / ORDER_FILE).write_bytes(gzip.compress(b"0\n2\n0\n1\n0\n"))
    data = opened(tmp_path)
    mine = np.flatnonzero(data.user == 0)
    assert data.item[mine[np.argsort(data.time[mine])]].tolist() == [1, 2, 0]  # movies 2, 10, 1
    assert np.abs(data.time - opened_without_order(tmp_path).time).max() <= 2


def opened_without_order(root):
    (root / ORDER_FILE).unlink()
    return opened(root)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"ratings": RATINGS + "9::1::3::1\n"}, "1 ratings name a user that is not listed, the first is 9"),
        ({"ratings": RATINGS + "1::7::3::1\n"}, "name a movie that is not listed, the first is 7"),
        ({"ratings": RATINGS + "1::1::3\n"}, "ratings.dat in .* is malformed"),
        ({"ratings": RATINGS + "1::1::good::3\n"}, "ratings.dat in .* is malformed"),
        ({"users": USERS + "5::M::25\n"}, "users.dat, line 5: 5 fields expected, got 3"),
        ({"users": USERS + USERS}, "1 is there twice"),
        ({"movies": ""}, "movies.dat in .* has no lines"),
    ],
)
def test_malformed_files_are_named(tmp_path, wrong, text):
    write_1m(tmp_path, **wrong)
    with pytest.raises(DataError, match=text):
        opened(tmp_path)


def test_an_unpacked_folder_gives_the_same_data(tmp_path):
    write_1m(tmp_path / "a")
    (tmp_path / "b" / "ml-1m").mkdir(parents=True)
    for name, text in (("users.dat", USERS), ("movies.dat", MOVIES), ("ratings.dat", RATINGS)):
        (tmp_path / "b" / "ml-1m" / name).write_bytes(text.encode("latin-1"))
    a, b = opened(tmp_path / "a"), opened(tmp_path / "b")
    np.testing.assert_array_equal(a.items.ids, b.items.ids)
    np.testing.assert_array_equal(a.users.ids, b.users.ids)
    assert a.fingerprint.endswith("+altered")
    assert b.fingerprint.endswith("+altered")


def test_100k_is_read_from_its_own_format(tmp_path):
    genres = ["unknown", "Action", "Drama"]
    texts = {
        "u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n3|7|M|student|55105\n",
        "u.genre": "".join(f"{g}|{n}\n" for n, g in enumerate(genres)) + "\n",
        "u.item": "1|Toy Story (1995)|01-Jan-1995||http://x|0|1|1\n2|Á köldum klaka|01-Jan-1995||http://x|1|0|0\n",
        "u.data": "1\t2\t3\t881250949\n3\t1\t5\t891717742\n2\t1\t1\t878887116\n",
    }
    write_zip(tmp_path / "ml-100k.zip", {f"ml-100k/{n}": t.encode("latin-1") for n, t in texts.items()})
    data = opened(tmp_path, MovieLens100K, "movielens-100k", zip="full")
    assert rows_as_text(data) == [
        {
            "user": "1",
            "gender": "M",
            "age": "18",
            "occupation": "technician",
            "zip": "85711",
            "item": "2",
            "genres": {"unknown"},
        },
        {
            "user": "3",
            "gender": "M",
            "age": "1",
            "occupation": "student",
            "zip": "55105",
            "item": "1",
            "genres": {"Action", "Drama"},
        },
        {
            "user": "2",
            "gender": "F",
            "age": "50",
            "occupation": "other",
            "zip": "94043",
            "item": "1",
            "genres": {"Action", "Drama"},
        },
    ]
    assert data.label.tolist() == [3, 5, 1]


@pytest.mark.slow
def test_the_real_1m_has_the_published_counts(real, tmp_path):
    options = {"zip": "frequent"}
    data = cached_dataset(MovieLens1M(real, **options), "movielens-1m", options, real, tmp_path)
    assert (data.rows, data.schema.n_users, data.schema.n_items) == (1_000_209, 6040, 3706)
    last = positives(data, data.rule.min_label, data.rule.core).steps[-1]
    assert (last.users, last.items) == (6034, 3125)
    assert round(last.features, -2) == 9400
    options = {"genres": "string", "fields": ("user", "gender", "occupation", "item", "genres")}
    gml = cached_dataset(MovieLens1M(real, **options), "movielens-1m", options, real, tmp_path)
    assert sum(f.size - 1 for f in gml.schema.fields) == 10_070


@pytest.mark.slow
def test_the_real_100k_has_the_published_counts(real, tmp_path):
    data = cached_dataset(MovieLens100K(real), "movielens-100k", {}, real, tmp_path)
    assert (data.rows, data.schema.n_users, data.schema.n_items) == (100_000, 943, 1682)
