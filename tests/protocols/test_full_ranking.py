"""Positives split at random, ranked among everything unmet."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import interactions, pairs_of

from fmlab.contracts import Task
from fmlab.data import PositivesRule
from fmlab.errors import DataError, FmlabError
from fmlab.evaluation import evaluate
from fmlab.plugin.registry import build, schema

GRID = [(u, i) for u in range(12) for i in range(15) if (u + 2 * i) % 5]


def task(data, **options) -> Task:
    return build("protocol", {"name": "full_ranking", **options}, data)


def parts(task: Task) -> list[np.ndarray]:
    return [np.sort(task.training.rows), np.sort(task.validation.rows), np.sort(task.test.rows)]


def test_the_defaults_are_those_of_the_paper() -> None:
    options = {o.name: o.default for o in schema("protocol", "full_ranking").options}
    assert (options["negatives"], options["monitor"]) == (10, "mrr")
    assert options["metrics"] == ("mrr", "hr@10", "ndcg")
    t = task(interactions(GRID))
    assert isinstance(t, Task)
    assert (t.monitor, t.maximize, t.training.negatives, t.training.redraw) == ("mrr", True, 10, True)
    assert len(t.validation.rows) == len(t.test.rows) == len(GRID) // 10


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_the_parts_are_a_partition_that_shares_no_pair(validation: int, test: int, seed: int) -> None:
    t = task(interactions(GRID), validation=validation, test=test, seed=seed)
    rows = parts(t)
    assert [len(r) for r in rows[1:]] == [validation, test]
    assert np.sort(np.concatenate(rows)).tolist() == list(range(t.dataset.rows))
    sets = [set(pairs_of(t.dataset, r)) for r in rows]
    assert not sets[0] & sets[1]
    assert not sets[0] & sets[2]
    assert not sets[1] & sets[2]


def test_the_split_follows_its_own_seed() -> None:
    data = interactions(GRID)
    first, again, other = (parts(task(data, seed=s)) for s in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (first[2] != other[2]).any()


def test_the_rule_of_the_data_holds_unless_options_differ() -> None:
    label = np.array([1 + (3 * u + i) % 5 for u, i in GRID], np.float32)
    data = interactions(GRID, label=label, rule=PositivesRule(4, 2))
    kept = task(data).dataset
    assert [s.name for s in kept.steps] == ["label >= 4", "2-core"]
    assert kept.label is None
    every = task(data, min_label=0, k_core=0).dataset
    assert every.rows == len(GRID)


def test_binary_labels_hold_negatives_that_are_no_positives() -> None:
    label = np.array([(u + i) % 3 > 0 for u, i in GRID], np.float32)
    for low in (0, -1):
        data = interactions(GRID, label=np.where(label > 0, 1, low).astype(np.float32))
        assert task(data).dataset.rows == label.sum()


def test_a_given_split_that_repeats_a_row_is_refused_unless_it_may_be_dropped() -> None:
    part = np.array([2 if n % 7 == 0 else n % 5 == 0 for n in range(len(GRID))], np.int8)
    data = interactions([*GRID, GRID[0], GRID[1]], split=np.array([*part, 0, 2], np.int8))
    with pytest.raises(DataError, match=r"4 rows of 'toy' are in more than one; protocol.on_leak=drop"):
        task(data)
    t = task(data, on_leak="drop")
    assert t.dataset.steps[-1].name == "first of repeated interactions"
    assert [len(r) for r in parts(t)] == np.bincount(part).tolist()
    assert task(data, split="random").dataset.rows == len(GRID)


def test_a_pair_in_another_context_is_another_event_that_counts_once() -> None:
    part = np.array([2 if n % 7 == 0 else n % 5 == 0 for n in range(len(GRID))], np.int8)
    pairs, split = [*GRID, GRID[0]], np.array([*part, 0], np.int8)
    t = task(interactions(pairs, split=split, context=[0] * len(GRID) + [1]))
    assert t.dataset.rows == len(GRID)
    with pytest.raises(DataError, match="2 rows"):
        task(interactions(pairs, split=split, context=[0] * len(pairs)))


def test_a_given_split_is_taken() -> None:
    part = np.array([2 if n % 7 == 0 else n % 5 == 0 for n in range(len(GRID))], np.int8)
    t = task(interactions(GRID, split=part))
    assert t.test.rows.size == (part == 2).sum()
    assert t.training.rows.tolist() == np.flatnonzero(part == 0).tolist()
    assert len(task(interactions(GRID, split=part), split="random").test.rows) == len(GRID) // 10
    with pytest.raises(DataError, match="does not come split"):
        task(interactions(GRID), split="given")


class Prefers:
    """Scores an item by a table of (user, item), read from the id columns."""

    def __init__(self, dataset, table: np.ndarray) -> None:
        self.at, self.table = dataset.schema.offsets, table

    def __call__(self, ids, values=None):
        import torch

        user, item = ids[..., 0] - 1, ids[..., 2] - self.at[2] - 1
        return torch.from_numpy(self.table)[user, item]


def test_by_hand() -> None:
    # User 0 met 0, 1, 2 of five items; one is tested, the other two are left out of its list.
    data = interactions([(0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (1, 0)], split=np.array([0, 1, 2, 0, 0, 0], np.int8))
    t = task(data, metrics=["mrr", "hr@1", "ndcg"])
    table = np.array([[9.0, 9, 5, 7, 5], [0, 0, 0, 0, 0]])
    test = evaluate(t.test, Prefers(t.dataset, table), t.dataset)
    # Item 2 stands below 3 and ties with 4: rank 2.5. Items 0 and 1 would be above it.
    assert test.values == pytest.approx({"mrr": 1 / 2.5, "hr@1": 0, "ndcg": 1 / np.log2(3.5)})
    assert (test.units["row"].tolist(), test.units["user"].tolist()) == ([2], [0])
    validation = evaluate(t.validation, Prefers(t.dataset, table), t.dataset)
    assert validation.values["hr@1"] == 1


def test_a_monitor_is_computed_even_if_not_listed() -> None:
    t = task(interactions(GRID), metrics=["mrr"], monitor="hr@5")
    assert list(t.validation.metrics) == ["mrr", "hr@5"]


def test_mistakes_are_named() -> None:
    data = interactions(GRID)
    with pytest.raises(FmlabError, match="did you mean 'mrr'"):
        task(data, metrics=["mmr"])
    with pytest.raises(FmlabError, match="ranks items"):
        task(data, monitor="logloss")
    with pytest.raises(FmlabError, match="need sampled candidates"):
        task(data, metrics=["sampled_hr@10"])
    with pytest.raises(DataError, match=f"must leave rows to train on, got {len(GRID)} and 1 of {len(GRID)} rows"):
        task(data, validation=len(GRID), test=1)
    with pytest.raises(DataError, match="got 1 of 2 users"):
        task(interactions([(0, 0), (0, 1), (0, 2), (1, 0)]), validation=1, test=1)
    with pytest.raises(DataError, match="no user or no item side"):
        task(type(data)("rows", data.schema, 4))
