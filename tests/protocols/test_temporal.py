"""One moment parts all users."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import interactions, pairs_of

from fmlab.contracts import Task
from fmlab.errors import DataError
from fmlab.evaluation import evaluate
from fmlab.plugin.registry import build

GRID = [(u, i) for u in range(10) for i in range(12) if (u + 2 * i) % 5]
N = len(GRID)


def task(data, **options) -> Task:
    return build("protocol", {"name": "temporal", **options}, data)


def rows_of(t: Task) -> list[np.ndarray]:
    return [t.training.rows, t.validation.rows, t.test.rows]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 30), min_size=N, max_size=N), st.sampled_from([0.1, 0.2, 5, 20]))
def test_nothing_trained_on_is_as_late_as_what_is_judged(times, size) -> None:
    time, ordered, held = np.array([*times]), sorted(times), size if size >= 1 else int(N * size + 0.5)
    try:
        t = task(interactions(GRID, time=time), validation=size, test=size, cold_entities="keep")
    except DataError:  # too few moments
        assert not ordered[0] < ordered[N - 2 * held] < ordered[N - held]
        return
    train, valid, test = ([*t.dataset.time[r]] for r in rows_of(t))
    assert max(train) < min(valid) <= max(valid) < min(test)
    assert sorted(train + valid + test) == sorted(times)
    assert len(test) >= held


def test_the_moment_parts_at_the_asked_share_when_all_moments_differ() -> None:
    order = np.random.default_rng(0).permutation(N)
    t = task(interactions(GRID, time=order), validation=0.2, test=10, cold_entities="keep")
    assert [len(r) for r in rows_of(t)] == [N - round(N * 0.2) - 10, round(N * 0.2), 10]
    assert np.sort(t.dataset.time[t.test.rows]).tolist() == list(range(N - 10, N))
    assert (t.monitor, t.training.negatives) == ("mrr", 10)


def test_users_and_items_that_nothing_is_learned_of_are_counted_and_not_judged() -> None:
    time = np.array([1000 if u == 9 or i == 11 else (3 * u + 5 * i) % 7 for u, i in GRID])
    late = [p for p, moment in zip(GRID, time, strict=True) if moment == 1000]
    data = interactions(GRID, time=time)
    kept = task(data, test=len(late), cold_entities="keep")
    assert set(pairs_of(kept.dataset, kept.test.rows)) == set(late)
    with pytest.raises(
        DataError, match="all of the test have a user or an item that is not trained on; cold_entities=keep"
    ):
        task(data, validation=0.2, test=len(late))
    time[[GRID.index(p) for p in [p for p in late if p[0] == 9][:3]]] = 0  # user 9 is known now, but item 11 is not
    t = task(interactions(GRID, time=time), validation=0.2, test=len(late) - 3)
    judged = pairs_of(t.dataset, t.test.rows)
    assert sorted(judged) == sorted(p for p in late if p[1] != 11 and time[GRID.index(p)] == 1000)
    trained = pairs_of(t.dataset, t.training.rows)
    for u, i in pairs_of(t.dataset, np.concatenate([t.validation.rows, t.test.rows])):
        assert u in {a for a, _ in trained}
        assert i in {b for _, b in trained}
    assert "not judged" in t.dataset.steps[-1].name


def test_labelled_rows_are_scored_by_time() -> None:
    label = np.array([(u + i) % 2 for u, i in GRID], np.float32)
    t = task(interactions(GRID, time=np.arange(N), label=label))
    assert t.monitor == "logloss"
    assert t.training.negatives == 0
    assert t.test.rows.tolist() == list(range(N - round(N * 0.1), N))
    ranked = task(interactions(GRID, time=np.arange(N), label=label), task="ranking", cold_entities="keep")
    assert set(pairs_of(ranked.dataset)) == {p for p, x in zip(GRID, label, strict=True) if x == 1}


def test_a_constant_model_can_be_judged_and_data_without_times_cannot() -> None:
    t = task(interactions(GRID, time=np.arange(N)), cold_entities="keep", metrics=("mrr",))
    model = build("model", {"name": "constant"}, t.dataset.schema).eval()
    assert 0 < evaluate(t.test, model, t.dataset).values["mrr"] < 1
    with pytest.raises(DataError, match="needs times"):
        task(interactions(GRID))
    with pytest.raises(DataError, match="every part needs at least one row"):
        task(interactions(GRID, time=np.zeros(N, int)))
