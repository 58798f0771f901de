"""The sets at hand have the counts that their sources state; only where the files are (FMLAB_TEST_DATA)."""

import pytest

from fmlab.data.filtering import positives
from fmlab.data.store.cache import cached_dataset
from fmlab.plugin.registry import build

REAL = [
    ("movielens-1m", "", {}, 1_000_209, 6_040, 3_706),
    ("movielens-100k", "", {}, 100_000, 943, 1_682),
    ("movielens-latest", "", {}, 100_004, 671, 9_066),
    ("movielens-latest", "", {"interactions": "tags"}, 1_296, 61, 582),
    ("frappe", "", {"layout": "x1"}, 288_609, 957, 4_082),
    ("frappe", "", {"layout": "libfm"}, 288_609, 957, 4_082),
    ("frappe", "", {"layout": "raw"}, 96_203, 957, 4_082),
    ("amazon-office", "", {}, 53_258, 4_905, 2_420),
    ("amazon-office", "", {"layout": "splits"}, 53_258, 4_905, 2_420),
    ("amazon-clothing", "", {}, 278_677, 39_387, 23_033),
    ("amazon-toys-games", "", {}, 167_597, 19_412, 11_924),
    ("amazon-beauty", "", {}, 198_502, 22_363, 12_101),
    ("amazon-musical-instruments", "", {}, 10_261, 1_429, 900),
    ("steam-200k", "", {}, 70_489, 11_350, 3_600),
    ("steam-200k", "", {"behavior": "purchase"}, 129_511, 12_393, 5_155),
    ("goodbooks", "", {}, 298_176, 2_672, 9_990),
    ("avazu", "avazu-tiny", {}, 8_087, 0, 0),
    ("criteo", "criteo-tiny", {}, 7_200, 0, 0),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "folder", "options", "rows", "users", "items"), REAL)
def test_counts(real, tmp_path, name, folder, options, rows, users, items):
    root = real / folder
    data = cached_dataset(build("data", {"name": name, **options}, root), name, options, root, tmp_path)
    assert (data.rows, data.schema.n_users, data.schema.n_items) == (rows, users, items)


@pytest.mark.slow
def test_movielens_1m_by_the_rule_of_lorentzfm(real, tmp_path):
    """The paper prints 573K, 6.0K users, 3.1K items, 9.4K features: 1K (0.2%) rows fewer than its rule leaves."""
    options = {"zip": "frequent"}
    source = build("data", {"name": "movielens-1m", **options}, real)
    data = cached_dataset(source, "movielens-1m", options, real, tmp_path)
    kept = positives(data, data.rule.min_label, data.rule.core)
    assert (kept.rows, kept.schema.n_users, kept.schema.n_items) == (574_376, 6_034, 3_125)
    assert round(kept.schema.n_features, -2) == 9_400
    assert kept.schema.n_columns == 12
