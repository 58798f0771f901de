import re

import pytest
from formats import amazon_reviews, avazu
from test_frappe import write_x1
from test_movielens import write_1m

from fmlab.cli.data import main
from fmlab.errors import DataError, FmlabError, StorageError


@pytest.fixture
def run(tmp_path, capsys):
    def call(*words):
        where = [] if words[0] == "list" else [f"--root={tmp_path / 'root'}", f"--cache={tmp_path / 'cache'}"]
        code = main([*words, *where])
        return code, capsys.readouterr().out

    (tmp_path / "root").mkdir()
    return call


def test_list_names_every_data_set(run):
    code, text = run("list")
    assert code == 0
    assert all(name in text for name in ("synthetic", "movielens-1m", "movielens-100k", "frappe", "csv"))


def test_path_says_where_things_are(run, tmp_path):
    assert run("path") == (0, f"raw data  {tmp_path}/root\nprepared  {tmp_path}/cache\n")


def test_show_of_a_missing_set_says_what_is_needed(run):
    code, text = run("show", "movielens-1m")
    assert code == 0
    assert "no redistribution" in text
    assert "Harper" in text
    assert "1 raw files are missing" in text


def test_prepare_prints_fields_and_published_statistics_beside_ours(run, tmp_path):
    write_1m(tmp_path / "root", ratings="".join(f"{u}::{i}::5::{u}\n" for u in (1, 2, 3, 4) for i in (1, 2, 3, 10)))
    assert "no positives by the rule of the set: '5-core'" in run("prepare", "movielens-1m")[1]
    users = "".join(f"{u}::F::1::0::1\n" for u in range(1, 7))
    movies = "".join(f"{m}::T::Drama\n" for m in range(1, 7))
    ratings = "".join(f"{u}::{m}::{5 if m < 6 else 1}::1\n" for u in range(1, 7) for m in range(1, 7))
    write_1m(tmp_path / "root", users=users, movies=movies, ratings=ratings)
    code, text = run("prepare", "movielens-1m")
    assert code == 0
    assert re.search(r"lorentzfm\s+samples\s+573K\s+36 -> 30", text)
    assert re.search(r"lorentzfm\s+items\s+3.1K\s+6 -> 5", text)
    assert re.search(r"lorentzfm\s+sparsity\s+96.85%\s+0.00% -> 0.00%", text)
    assert re.search(r"hyperml\s+density\s+4.52%\s+100.00% -> 100.00%", text)
    assert re.search(r"genres\s+item\s+2\s+6\s+multi-valued", text)
    assert "fields=[user,gender," in text
    shown = run("show", "movielens-1m")[1]
    assert "prepared" in shown
    assert re.search(r"samples\s+573K\s+36 -> 30", shown)


def test_positives_are_told_from_rows_with_negatives(run, tmp_path):
    write_x1(tmp_path / "root")
    text = run("prepare", "frappe")[1]
    assert re.search(r"ifm\s+original records\s+96203\s+2 ", text)
    assert re.search(r"ifm\s+records with negatives\s+288609\s+4 ", text)


def test_the_card_gives_a_reason_where_a_printed_figure_cannot_be_ours(run, tmp_path):
    amazon_reviews(tmp_path / "root")
    code, text = run("prepare", "amazon-auto")
    assert code == 0
    assert re.search(r"hyperml interactions 26K \d+ the plain 5-core and 2 x users", " ".join(text.split()))
    assert re.search(r"gml-fm\s+users\s+2928\s+12 ", text)
    assert "category" in text


def test_a_part_of_a_published_set_says_so_and_is_split_as_the_paper_splits(run, tmp_path):
    avazu(tmp_path / "root", rows=60)
    text = " ".join(run("prepare", "avazu")[1].split())
    assert "lorentzfm samples 40.4M 60 -> 60 of the whole set of 40,428,967 rows; here are 60" in text
    assert "fmfm train samples 32343173 48 of the whole set" in text
    assert "fmfm validation samples 4042897 6 of the whole set" in text
    assert "lorentzfm fields 21 21 columns" in text


def test_features_of_the_card_leave_the_unknown_ones_out(run, tmp_path):
    write_x1(tmp_path / "root")
    text = " ".join(run("prepare", "frappe")[1].split())
    features = int(re.search(r"all ([\d,]+) 10 10 fields", text)[1].replace(",", ""))
    assert f"ifm features 5382 {features - 10} " in text
    assert f"ifm sparsity level 0.19% {10 / (features - 10):.2%}" in text


def test_options_are_those_of_a_run(run):
    code, text = run("prepare", "synthetic", "users=30", "items=20")
    assert code == 0
    assert re.search(r"user\s+user\s+31 ", text)
    assert "prepared" in run("show", "synthetic", "users=30", "items=20")[1]
    assert "not prepared yet" in run("show", "synthetic", "users=31", "items=20")[1]
    with pytest.raises(FmlabError, match="did you mean 'users'"):
        run("show", "synthetic", "user=30")


def test_check_reads_every_byte(run, tmp_path):
    run("prepare", "synthetic", "users=30", "items=20")
    assert run("check", "synthetic", "users=30", "items=20") == (0, "prepared: every checksum is right\n")
    (victim,) = (tmp_path / "cache").glob("synthetic-*/user.npy")
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    code, text = run("check", "synthetic", "users=30", "items=20")
    assert code == StorageError.code
    assert "damaged: user.npy" in text


def test_check_and_fetch_name_a_missing_file(run):
    code, text = run("check", "frappe", "layout=raw")
    assert code == DataError.code
    assert "Mobile_Frappe.zip: missing" in text
    with pytest.raises(DataError, match="by hand from"):
        run("fetch", "frappe", "layout=raw")


def test_check_tells_a_right_checksum_from_none(run, tmp_path):
    (tmp_path / "root" / "avazu").mkdir(parents=True)
    avazu(tmp_path / "root" / "avazu")
    assert re.search(r"train.gz: no checksum is published; sha256 [0-9a-f]{64}\n", run("check", "avazu")[1])


def test_addresses_and_folders_are_not_cut(run):
    text = "".join(run("show", "steam")[1].split())
    assert "https://mcauleylab.ucsd.edu/public_datasets/data/steam/australian_users_items.json.gz" in text


def test_options_may_stand_after_flags(run, tmp_path):
    there = tmp_path / "cache"
    assert run("prepare", "synthetic", f"--cache={there}", "users=30", "items=20")[0] == 0
    assert "prepared" in run("show", "synthetic", f"--cache={there}", "items=20", "users=30")[1]


@pytest.mark.parametrize("words", [("shoe",), ("show",), ("show", "movielens"), ("list", "x")])
def test_mistakes_in_the_command_are_explained(run, words):
    with pytest.raises(FmlabError):
        run(*words)
