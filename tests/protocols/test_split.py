"""Which interactions are kept, and where they go."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import interactions, pairs_of, raw

from fmlab.data import PlantedScores, PreparationStep, filtering, split
from fmlab.errors import DataError

PAIRS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=60)


def slow_core(pairs: set[tuple[int, int]], core: int) -> set[tuple[int, int]]:
    while True:
        users, items = Counter(u for u, _ in pairs), Counter(i for _, i in pairs)
        left = {(u, i) for u, i in pairs if users[u] >= core and items[i] >= core}
        if left == pairs:
            return left
        pairs = left


@given(PAIRS, st.integers(0, 4))
def test_the_core_is_what_dropping_one_by_one_leaves(pairs: list[tuple[int, int]], core: int) -> None:
    data = interactions(pairs)
    left = slow_core(set(pairs), core)
    if not left:
        with pytest.raises(DataError, match=f"'{core}-core' must leave some rows"):
            filtering.positives(data, None, core)
        return
    kept = filtering.positives(data, None, core)
    assert {(int(u[1:]), int(i[1:])) for u, _, i, _, _ in raw(kept)} == left
    assert kept.rows == len(left)


@given(PAIRS, st.data())
def test_raw_values_survive_renumbering_and_nothing_unused_is_left(pairs: list[tuple[int, int]], draw) -> None:
    n = len(pairs)
    label = np.array(draw.draw(st.lists(st.integers(1, 5), min_size=n, max_size=n)), np.float32)
    context = draw.draw(st.one_of(st.none(), st.lists(st.integers(0, 4), min_size=n, max_size=n)))
    data = interactions(pairs, label=label, time=np.arange(n), context=context)
    wanted = [r for r, keep in zip(raw(data), label >= 3, strict=True) if keep]
    first: dict = {}
    for row in wanted:
        first.setdefault((row[0], row[-3]), row)
    wanted = list(first.values())
    if not wanted:
        return
    kept = filtering.positives(data, 3, 0)
    assert raw(kept) == wanted
    assert (kept.schema.n_users, kept.schema.n_items) == (len({r[0] for r in wanted}), len({r[-3] for r in wanted}))
    assert (len(kept.users.ids), len(kept.items.ids)) == (kept.schema.n_users, kept.schema.n_items)
    used = {int(n) for n in kept.row_ids(np.arange(kept.rows)).ids.ravel()} | set(kept.schema.offsets)
    assert used == set(range(kept.schema.n_features))
    assert all(len(kept.keys[f.name]) == f.size - 1 for f in kept.schema.fields)
    assert kept.label is None


def test_every_step_tells_what_it_left() -> None:
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (0, 2), (0, 0)]
    data = interactions(pairs, label=np.array([5, 5, 5, 5, 5, 1, 5], np.float32))
    kept = filtering.positives(data, 4, 2)
    assert [s.name for s in kept.steps] == ["label >= 4", "first of repeated interactions", "2-core"]
    assert [(s.rows, s.users, s.items) for s in kept.steps] == [(6, 3, 3), (5, 3, 3), (4, 2, 2)]
    assert kept.steps[-1].features == kept.schema.n_features
    assert kept.steps[0] == PreparationStep("label >= 4", 6, 3, 3, 16)


def test_the_earliest_of_repeated_interactions_stays() -> None:
    data = interactions([(0, 0), (1, 1), (0, 0), (0, 0)], time=np.array([30, 5, 10, 10]))
    assert filtering.positives(data, None, 0).time.tolist() == [5, 10]
    unordered = interactions([(0, 0), (1, 1), (0, 0)], label=np.array([3, 4, 5], np.float32))
    assert pairs_of(filtering.positives(unordered, None, 0)) == [(0, 0), (1, 1)]


def test_of_a_pair_in_several_contexts_the_earliest_stays() -> None:
    data = interactions([(0, 0), (0, 0), (1, 1)], context=[1, 2, 1])
    kept = filtering.positives(data, None, 0)
    assert pairs_of(kept) == [(0, 0), (1, 1)]
    assert kept.steps[-1].name == "first of repeated interactions"


def test_truth_keys_and_given_split_follow_their_users_and_items() -> None:
    truth = PlantedScores(np.arange(4.0)[:, None], np.arange(5.0)[:, None], np.arange(4.0), np.arange(5.0))
    data = interactions([(3, 4), (1, 4), (3, 0)], truth=truth, split=np.array([0, 2, 1], np.int8))
    kept = filtering.positives(data, None, 0)
    assert pairs_of(kept) == [(1, 1), (0, 1), (1, 0)]
    assert kept.truth.user.tolist() == [[1], [3]]
    assert kept.truth.item.tolist() == [[0], [4]]
    assert (kept.truth.user_bias.tolist(), kept.truth.item_bias.tolist()) == ([1, 3], [0, 4])
    assert kept.keys["user"].tolist() == ["u1", "u3"]
    assert kept.split.tolist() == [0, 2, 1]


def test_the_given_data_are_not_changed() -> None:
    data = interactions([(0, 1), (1, 0), (1, 1)], label=np.array([1, 5, 5], np.float32))
    for array in (data.user, data.item, data.users.ids, data.items.ids, data.label):
        array.setflags(write=False)
    filtering.positives(data, 4, 2 - 1)
    assert data.rows == 3


@given(st.integers(3, 60), st.data(), st.integers(0, 5))
def test_a_random_split_has_exact_sizes_and_follows_its_seed(rows: int, draw, seed: int) -> None:
    validation = draw.draw(st.integers(1, rows - 2))
    test = draw.draw(st.integers(1, rows - validation - 1))
    part = split.random_parts(rows, validation, test, seed)
    assert np.bincount(part, minlength=3).tolist() == [rows - validation - test, validation, test]
    assert (part == split.random_parts(rows, validation, test, seed)).all()


def test_every_row_is_as_likely_to_be_tested() -> None:
    tested = sum((split.random_parts(10, 2, 3, seed) == split.TEST).astype(int) for seed in range(2000))
    assert tested.min() > 520  # 600 expected, standard deviation 20
    assert tested.max() < 680


def test_sizes_are_rows_shares_or_the_default() -> None:
    assert split.sizes(1000, 100, 0.2) == (100, 200)
    assert split.sizes(40_428_967, 0.1, 0.1) == (4_042_897, 4_042_897)  # FmFM, Table 5, Avazu
    assert split.sizes(574_376, None, None) == (10_000, 10_000)
    assert split.sizes(500, None, None) == (50, 50)
    assert split.sizes(30_000, 1e4, 1) == (10_000, 1)
    with pytest.raises(DataError, match="must leave rows to train on, got 5 and 5 of 10 rows"):
        split.sizes(10, 5, 5)
    with pytest.raises(DataError, match="validation 0"):
        split.sizes(9, None, 1)


@settings(deadline=None)
@given(PAIRS, st.data())
def test_leave_one_out_takes_the_last_two_of_each_user(pairs: list[tuple[int, int]], draw) -> None:
    n = len(pairs)
    time = draw.draw(st.one_of(st.none(), st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    data = interactions(pairs, time=None if time is None else np.array(time))
    expected = [0] * n
    for user in {u for u, _ in pairs}:
        mine = sorted((r for r in range(n) if pairs[r][0] == user), key=lambda r: (time[r] if time else 0, r))
        if len(mine) >= 3:
            expected[mine[-1]], expected[mine[-2]] = split.TEST, split.VALIDATION
    if any(expected):
        assert split.leave_one_out_parts(data).tolist() == expected
    else:
        with pytest.raises(DataError, match="3 or more interactions, got none"):
            split.leave_one_out_parts(data)


def test_a_given_split_must_be_whole() -> None:
    pairs = [(0, 0), (0, 1), (1, 0)]
    assert split.given_parts(interactions(pairs, split=np.array([2, 0, 1], np.int8))).tolist() == [2, 0, 1]
    with pytest.raises(DataError, match="does not come split"):
        split.given_parts(interactions(pairs))
    with pytest.raises(DataError, match="train 2, validation 0, test 1"):
        split.given_parts(interactions(pairs, split=np.array([2, 0, 0], np.int8)))
    with pytest.raises(DataError, match="0 to 3"):
        split.given_parts(interactions(pairs, split=np.array([3, 0, 1], np.int8)))


def test_a_threshold_needs_labels_and_ranking_needs_items() -> None:
    with pytest.raises(DataError, match="min_label=4 needs labels"):
        filtering.positives(interactions([(0, 0)]), 4, 0)
    rows = interactions([(0, 0)])
    with pytest.raises(DataError, match="no user or no item side"):
        split.sides(type(rows)("rows", rows.schema, 1))
