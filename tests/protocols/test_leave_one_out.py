"""Each user's last interaction, among sampled items and among all."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import interactions, pairs_of

from fmlab.contracts import Task
from fmlab.errors import DataError
from fmlab.evaluation import evaluate
from fmlab.plugin.registry import build, schema

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), min_size=8, max_size=40, unique=True)


def task(data, **options) -> Task:
    return build("protocol", {"name": "leave_one_out", "n_candidates": 3, **options}, data)


def grid(n_users: int = 6, n_items: int = 30) -> list[tuple[int, int]]:
    return [(u, (7 * u + 3 * n) % n_items) for n in range(5) for u in range(n_users)]


def test_the_defaults_are_those_of_the_paper() -> None:
    options = {o.name: o.default for o in schema("protocol", "leave_one_out").options}
    assert (options["n_candidates"], options["negatives"], options["resample_negatives"]) == (100, 1, True)
    t = task(interactions(grid()))
    assert (t.monitor, t.maximize) == ("sampled_ndcg@10", True)
    assert list(t.test.metrics) == ["sampled_hr@10", "sampled_ndcg@10", "hr@10", "ndcg@10"]
    assert list(t.validation.metrics) == ["sampled_hr@10", "sampled_ndcg@10"]
    assert "hr@10" in task(interactions(grid()), monitor="ndcg@10").validation.metrics
    assert "leaks the future" in schema("protocol", "leave_one_out").doc


@settings(deadline=None, max_examples=40)
@given(PAIRS, st.data())
def test_nothing_is_trained_on_that_is_later_than_the_users_test(pairs: list[tuple[int, int]], draw) -> None:
    time = np.array(draw.draw(st.lists(st.integers(0, 9), min_size=len(pairs), max_size=len(pairs))))
    try:
        t = task(interactions(pairs, time=time), n_candidates=1)
    except DataError:
        return
    data = t.dataset
    rows = np.concatenate([t.training.rows, t.validation.rows, t.test.rows])
    assert np.sort(rows).tolist() == list(range(data.rows))
    for before, after in ((t.training.rows, t.validation.rows), (t.validation.rows, t.test.rows)):
        for row in after:
            mine = before[data.user[before] == data.user[row]]
            assert (data.time[mine] <= data.time[row]).all()
    assert len(set(data.user[t.test.rows])) == len(t.test.rows) == len(t.validation.rows)
    seen = set(pairs_of(data))
    for part in (t.validation, t.test):
        for row, drawn in zip(part.rows, part.candidates.tolist(), strict=True):
            assert not {(int(data.user[row]), i) for i in drawn} & seen


def test_candidates_are_drawn_once_by_the_seed() -> None:
    data = interactions(grid())
    a, b, c = (task(data, seed=s, n_candidates=10) for s in (0, 0, 1))
    assert torch.equal(a.test.candidates, b.test.candidates)
    assert not torch.equal(a.test.candidates, c.test.candidates)
    assert not torch.equal(a.test.candidates, a.validation.candidates)
    assert all(len(set(row)) == 10 for row in a.test.candidates.tolist())


def test_by_hand() -> None:
    pairs = [(0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (1, 5), (2, 6), (2, 7)]
    data = interactions(pairs, time=np.array([3, 2, 1, 1, 2, 3, 1, 2]))
    t = task(data, n_candidates=5, metrics=["sampled_mrr", "mrr"])
    assert pairs_of(t.dataset, t.test.rows) == [(0, 0), (1, 5)]
    assert pairs_of(t.dataset, t.validation.rows) == [(0, 1), (1, 4)]
    assert pairs_of(t.dataset, t.training.rows) == [(0, 2), (1, 3), (2, 6), (2, 7)]
    assert t.dataset.steps[-1].name == "1 users with fewer than 3 interactions are trained on, not tested"
    # All five unmet items are the candidates, so both metrics rank in the same list of six.
    offset = t.dataset.schema.offsets[2] + 1

    def model(ids: torch.Tensor, values: None = None) -> torch.Tensor:
        return (ids[..., 2] - offset).float()

    report = evaluate(t.test, model, t.dataset)
    assert report.units["mrr"].tolist() == [1 / 6, 1 / 3]
    assert report.units["sampled_mrr"].tolist() == [1 / 6, 1 / 3]


def test_the_variant_of_gml_fm_is_reached_by_options() -> None:
    t = task(interactions(grid()), n_candidates=15, negatives=2, resample_negatives=False)
    assert (t.training.negatives, t.training.redraw, t.test.candidates.shape[1]) == (2, False, 15)


def test_all_but_the_test_is_trained_on_if_asked_for_and_this_is_said() -> None:
    apart, together = (task(interactions(grid()), train_on_validation=on) for on in (False, True))
    assert together.training.rows.tolist() == sorted([*apart.training.rows, *apart.validation.rows])
    assert together.test.rows.tolist() == apart.test.rows.tolist()
    assert together.validation.rows.tolist() == apart.validation.rows.tolist()
    assert not set(together.training.rows) & set(together.test.rows)
    said = [any("trained on too" in step.name for step in t.dataset.steps) for t in (apart, together)]
    assert said == [False, True]
    assert [any("trained on too" in text for text in t.described.values()) for t in (apart, together)] == [False, True]


def test_a_refit_selects_on_the_validation_and_then_trains_on_it_as_well() -> None:
    apart, anew = (task(interactions(grid()), refit=on) for on in (False, True))
    assert apart.refit is None
    assert anew.refit.tolist() == sorted([*apart.training.rows, *apart.validation.rows])
    assert anew.training.rows.tolist() == apart.training.rows.tolist()
    assert "trained anew" in anew.described["tested model"]
    with pytest.raises(DataError, match="refit=true trains on the validation after it selected"):
        task(interactions(grid()), refit=True, train_on_validation=True)


def test_ratings_do_not_matter_but_binary_negatives_do() -> None:
    pairs = grid()
    stars = interactions(pairs, label=np.arange(len(pairs)).astype(np.float32) % 5 + 1)
    assert task(stars).dataset.rows == len(pairs)
    clicks = interactions(pairs, label=(np.arange(len(pairs)) % 6 != 1).astype(np.float32))
    assert task(clicks).dataset.rows == len(pairs) - 5
    assert task(stars, min_label=3).dataset.rows == 18


def test_mistakes_are_named() -> None:
    with pytest.raises(DataError, match="got none of 3"):
        task(interactions([(0, 0), (1, 1), (2, 2), (0, 3)]))
    with pytest.raises(
        DataError, match=r"got 6 of 6 users with fewer among the 24 items; lower protocol\.n_candidates"
    ):
        task(interactions(grid()), n_candidates=20)
    with pytest.raises(DataError, match="got 1 of 6 users with fewer among the 30 items"):
        task(interactions([*grid(), *((0, i) for i in range(30))]))


def test_it_is_said_how_many_test_rows_the_order_of_rows_decides() -> None:
    pairs = [(u, i) for u in range(4) for i in range(4)]
    time = np.array([[1, 2, 3, 4], [1, 2, 4, 4], [4, 3, 2, 4], [1, 1, 1, 2]]).reshape(-1)
    names = [
        s.name for s in task(interactions([*pairs, (4, 9)], time=np.append(time, 1)), n_candidates=1).dataset.steps
    ]
    assert names[-1] == "test rows that the order of rows decides, for another has the same time: 2 of 4 (50.0%)"
    assert not any("order of rows" in s.name for s in task(interactions(grid(), time=np.arange(30))).dataset.steps)
    assert "there are no times" in task(interactions(grid())).dataset.steps[-1].name
