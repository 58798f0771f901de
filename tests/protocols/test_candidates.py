"""Test items and candidates in a file."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import interactions, pairs_of

from fmlab.contracts import Task
from fmlab.data.negative_sampling import UserItemSet
from fmlab.errors import DataError
from fmlab.evaluation import RankedLists, evaluate
from fmlab.plugin.registry import build

PAIRS = [(u, (7 * u + 3 * n) % 30) for n in range(5) for u in range(6)]


def task(data, **options) -> Task:
    return build("protocol", {"name": "leave_one_out", "n_candidates": 3, **options}, data)


def ranked(t: Task) -> dict[tuple[str, str], set[str]]:
    """Candidates by user and test item, all as in the raw data."""
    user, item = (t.dataset.keys[side].tolist() for side in ("user", "item"))
    pairs = [(user[u], item[i]) for u, i in pairs_of(t.dataset, t.test.rows)]
    return dict(zip(pairs, ({item[c] for c in own} for own in t.test.candidates.tolist()), strict=True))


@pytest.mark.parametrize("name", ["mine.tsv", "mine.tsv.gz"])
def test_what_is_written_is_read_back_whatever_the_seed(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    first = task(interactions(PAIRS), candidate_file=path)
    assert ranked(first) == ranked(task(interactions(PAIRS)))  # freezing changes nothing
    text = gzip.decompress(Path(path).read_bytes()) if name.endswith("gz") else Path(path).read_bytes()
    read = [line.replace("(", "").replace(")", "").split("\t") for line in text.decode().splitlines()]
    assert {tuple(own[0].split(",")): set(own[1:]) for own in read} == ranked(first)
    again = task(interactions(PAIRS), candidate_file=path, seed=5)
    assert ranked(again) == ranked(first)
    assert again.dataset.fingerprint == first.dataset.fingerprint != task(interactions(PAIRS)).dataset.fingerprint
    assert "6 test items among 3 candidates each, as in" in again.dataset.steps[-1].name
    with pytest.raises(DataError, match=r"n_candidates=3 is what .* lists, got 4"):
        task(interactions(PAIRS), candidate_file=path, n_candidates=4)


def test_the_file_says_what_is_tested_and_what_is_left_is_in_order_of_time(tmp_path: Path) -> None:
    path = tmp_path / "c.tsv"
    path.write_text("(u0,i3)\ti7\ti10\ti13\n(u2,i14)\ti7\ti10\ti13\n")
    t = task(interactions(PAIRS), candidate_file=str(path))
    assert ranked(t) == {key: {"i7", "i10", "i13"} for key in (("u0", "i3"), ("u2", "i14"))}
    keys = t.dataset.keys["item"].tolist()
    assert [(u, keys[i]) for u, i in pairs_of(t.dataset, t.validation.rows)] == [(0, "i12"), (2, "i26")]
    assert len(t.training.rows) == len(PAIRS) - 4
    assert any("4 users are trained on, not tested" in s.name for s in t.dataset.steps)


def test_compact_numbers_count_users_and_items_by_first_appearance(tmp_path: Path) -> None:
    pairs = [(1, 5), (1, 2), (1, 7), (0, 2), (0, 5), (0, 9), (0, 1), (2, 3), (2, 4), (2, 6)]
    path = tmp_path / "c.tsv"
    path.write_text("(0,2)\t3\t4\n(1,0)\t2\t5\n")
    t = task(interactions(pairs), candidate_file=str(path), candidate_ids="compact", n_candidates=2)
    assert ranked(t) == {("u1", "i7"): {"i9", "i1"}, ("u0", "i5"): {"i7", "i3"}}
    with pytest.raises(DataError, match="needs a file of candidates, there is none"):
        task(interactions(pairs), candidate_file=str(tmp_path / "d"), candidate_ids="compact")


def test_candidates_that_are_no_unmet_items_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "c.tsv"
    path.write_text("(u0,i12)\ti12\ti0\ti7\n")
    t = task(interactions(PAIRS), candidate_file=str(path))
    assert "1 candidates are the test item itself and do not count; 1 candidates (33.33%)" in t.dataset.steps[-1].name


WRONG = {
    "no pair": ("u0 i12\ti1\n", r"line 1"),
    "no candidates": ("(u0,i12)\n", "candidates after it, separated by tabs: .*line 1"),
    "unknown user": ("(u0,i12)\ti7\n(u99,i1)\ti1\n", r"no user 'u99' \(it has u0, u1, u2, ...\): .*line 2"),
    "unknown item": ("(u0,i12)\tx\n", "no item 'x'"),
    "no interaction": ("(u0,i7)\ti3\n", r"must be an interaction of its user: .*line 1 has \(u0,i7\)"),
    "two of a user": ("(u0,i12)\ti7\n(u0,i3)\ti7\n", "'u0' has a second one: .*line 2"),
    "different numbers": ("(u0,i12)\ti0\n(u1,i7)\ti0\ti3\n", "as many candidates, got 2 after 1: .*line 2"),
    "empty": ("\n", "lists no test items"),
}


@pytest.mark.parametrize("case", WRONG)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, case: str) -> None:
    text, message = WRONG[case]
    (tmp_path / "c.tsv").write_text(text)
    with pytest.raises(DataError, match=message):
        task(interactions(PAIRS), candidate_file=str(tmp_path / "c.tsv"), n_candidates=1)


def test_a_given_split_has_one_test_row_a_user_and_any_validation_rows() -> None:
    part = np.array([2 if n >= 24 else 1 if n < 8 else 0 for n in range(30)], np.int8)
    t = task(interactions(PAIRS, split=part))
    assert sorted(t.test.rows) == list(range(24, 30))
    assert sorted(t.validation.rows) == list(range(8))
    assert sorted(task(interactions(PAIRS, split=part[::-1].copy()), split="time").test.rows) == list(range(24, 30))
    with pytest.raises(DataError, match=r"2 users of 'toy' have more; .* protocol.split=time"):
        task(interactions(PAIRS, split=np.where(np.isin(np.arange(30), (18, 19)), 2, part).astype(np.int8)))
    with pytest.raises(DataError, match="does not come split"):
        task(interactions(PAIRS), split="given")


def test_a_file_and_a_given_split_must_agree(tmp_path: Path) -> None:
    part = np.array([2 if n >= 24 else n < 8 for n in range(30)], np.int8)
    path = str(tmp_path / "c.tsv")
    first = task(interactions(PAIRS, split=part), candidate_file=path)
    assert ranked(task(interactions(PAIRS, split=part), candidate_file=path)) == ranked(first)
    other = interactions(PAIRS, split=np.roll(part, 6))
    with pytest.raises(DataError, match="6 are listed, 6 in the split, and they differ"):
        task(other, candidate_file=path)


def test_the_item_itself_among_its_candidates_does_not_count() -> None:
    data = interactions(PAIRS)
    observed = UserItemSet(data.user, data.item, data.schema.n_users, data.schema.n_items)
    rows, own = np.array([24, 25]), data.item[[24, 25]].tolist()

    class Numbers:
        def __call__(self, ids, values=None):
            return -(ids[..., data.schema.columns("item").start] - data.schema.offsets[2]).float()

    for metrics in (("sampled_mrr",), ("sampled_mrr", "mrr")):
        doubled, plain = (
            RankedLists(data, rows, observed, metrics, candidates=torch.tensor([[first, 20], [second, 0]]))
            for first, second in (own, (27, 27))  # the lowest score
        )
        values = [evaluate(r, Numbers(), data).units["sampled_mrr"].tolist() for r in (doubled, plain)]
        assert values[0] == values[1]
