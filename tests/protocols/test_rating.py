"""Positives and sampled negatives as +1 and -1, or the rows' own labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toys import interactions, pairs_of, raw

from fmlab.contracts import Task
from fmlab.data import Field, PlantedScores, Schema, Table
from fmlab.errors import DataError
from fmlab.evaluation import evaluate, planted_scorer
from fmlab.plugin.registry import build

PAIRS = [(u, i) for u in range(10) for i in range(12) if (u + i) % 3 == 0]


def task(data, **options) -> Task:
    return build("protocol", {"name": "rating", **options}, data)


def test_each_positive_gets_two_unmet_items_in_its_context_and_time() -> None:
    n = len(PAIRS)
    data = interactions(PAIRS, time=np.arange(n), context=np.arange(n) % 5, label=np.full(n, 3, np.float32))
    t = task(data)
    made = t.dataset
    assert made.rows == 3 * n
    assert made.label.tolist() == [1, -1, -1] * n
    assert raw(made, np.arange(0, 3 * n, 3)) == raw(data)
    negatives = np.flatnonzero(made.label < 0)
    positive, negative = raw(made, negatives // 3 * 3), raw(made, negatives)
    assert [r[:3] for r in positive] == [r[:3] for r in negative]  # user, group, hour
    assert not set(pairs_of(made, negatives)) & set(PAIRS)
    assert made.time.tolist() == np.repeat(np.arange(n), 3).tolist()
    assert made.steps[-1].rows == 3 * n
    sizes = [len(t.training.rows), len(t.validation.rows), len(t.test.rows)]
    assert sizes == [84, 24, 12]  # 70/20/10 of 120
    assert t.training.negatives == 0
    rows = np.concatenate([t.training.rows, t.validation.rows, t.test.rows])
    assert np.sort(rows).tolist() == list(range(3 * n))


def test_negatives_are_fixed_by_the_seed() -> None:
    a, b, c = (task(interactions(PAIRS), seed=s).dataset.item for s in (0, 0, 1))
    assert a.tolist() == b.tolist()
    assert a.tolist() != c.tolist()


def test_a_constant_of_minus_one_third_has_the_error_of_the_labels() -> None:
    t = task(interactions(PAIRS))

    def model(ids: torch.Tensor, values: None = None) -> torch.Tensor:
        return torch.full(ids.shape[:-1], -1 / 3)

    label = t.dataset.label[t.test.rows]
    assert evaluate(t.test, model, t.dataset).values["rmse"] == pytest.approx(np.sqrt(np.mean((label + 1 / 3) ** 2)))


@pytest.mark.parametrize("clip", [True, False])
def test_scores_are_clipped_to_the_labels_of_training(clip: bool) -> None:
    part = np.zeros(len(PAIRS), np.int8)
    part[:8] = np.repeat([1, 2], 4)
    stars = np.where(part == 0, np.arange(len(PAIRS)) % 3 + 2, 9).astype(np.float32)  # 2, 3, 4; elsewhere 9
    t = task(interactions(PAIRS, label=stars, split=part), negatives=0, clip=clip)

    def model(ids: torch.Tensor, values: None = None) -> torch.Tensor:
        return torch.full(ids.shape[:-1], 7.0)

    for part_of in (t.validation, t.test):
        assert evaluate(part_of, model, t.dataset).values["mae"] == pytest.approx(9 - 4 if clip else 9 - 7)


@pytest.mark.parametrize("low", [0, -1])
def test_rows_that_hold_their_negatives_are_taken_as_they_come(low: int) -> None:
    label = np.where(np.arange(len(PAIRS)) % 3, low, 1).astype(np.float32)
    part = (np.arange(len(PAIRS)) % 4).clip(0, 2).astype(np.int8)
    t = task(interactions(PAIRS, label=label, split=part))
    assert pairs_of(t.dataset) == PAIRS
    assert t.dataset.label.tolist() == np.where(label > 0, 1, -1).tolist()
    assert t.test.rows.tolist() == np.flatnonzero(part == 2).tolist()


def test_own_labels_are_predicted_without_negatives() -> None:
    stars = (np.arange(len(PAIRS)) % 5 + 1).astype(np.float32)
    t = task(interactions(PAIRS, label=stars), negatives=0)
    assert t.dataset.label.tolist() == stars.tolist()
    assert len(t.test.rows) == 4
    with pytest.raises(DataError, match="rows need labels to predict"):
        task(interactions(PAIRS), negatives=0)
    stars[3] = np.nan
    with pytest.raises(DataError, match="1 of 40"):
        task(interactions(PAIRS, label=stars), negatives=0)


def test_rows_without_users_and_items_have_their_own_labels_predicted() -> None:
    price = np.arange(40, dtype=np.float32)
    data = interactions(PAIRS, label=price)
    schema = Schema((Field("day", "context", 4),))
    table = Table((np.arange(40) % 4)[:, None].astype(np.int32))
    alone = replace(data, schema=schema, user=None, item=None, users=None, items=None, context=table)
    assert task(alone).dataset.label.tolist() == price.tolist()


def test_a_given_split_keeps_negatives_with_their_positive() -> None:
    part = (np.arange(len(PAIRS)) % 4).clip(0, 2).astype(np.int8)
    t = task(interactions(PAIRS, split=part))
    assert len(t.test.rows) == 3 * (part == 2).sum()
    assert t.dataset.split.tolist() == np.repeat(part, 3).tolist()


def test_a_planted_score_is_no_known_best_of_other_labels() -> None:
    truth = PlantedScores(np.zeros((10, 1)), np.zeros((12, 1)), np.zeros(10), np.zeros(12))
    assert planted_scorer(task(interactions(PAIRS, truth=truth)).dataset) is None


def test_a_user_who_met_everything_has_no_negative() -> None:
    with pytest.raises(DataError, match="got 1 of 2 users"):
        task(interactions([(0, 0), (0, 1), (0, 2), (1, 0)]))


def crowded() -> list[tuple[int, int]]:
    """User 0 met 4 of 10 items (8 negatives, 6 unmet), user 1 met 3 (6 of 7), others 1 (2 of 9)."""
    return [*((0, i) for i in range(4)), *((1, i) for i in range(3)), *((u, u % 10) for u in range(2, 40))]


def test_no_negative_is_there_twice_where_there_are_enough_unmet_items() -> None:
    t = task(interactions(crowded()))
    n = len(crowded())
    negatives = pairs_of(t.dataset, np.flatnonzero(t.dataset.label < 0))
    assert not set(negatives) & set(crowded())
    for user in range(40):
        mine = [i for u, i in negatives if u == user]
        assert len(set(mine)) == min(len(mine), 6 if user == 0 else 99)
    assert t.dataset.steps[-1].name == f"2 sampled negatives for each, {2 / (2 * n):.2%} of them there before"


def test_equal_negatives_are_in_one_part() -> None:
    for seed in range(20):
        t = task(interactions(crowded()), seed=seed, validation=0.3, test=0.3)
        parts = [set(pairs_of(t.dataset, rows)) for rows in (t.training.rows, t.validation.rows, t.test.rows)]
        assert sum(map(len, parts)) == len(set.union(*parts))
        assert len(t.training.rows) + len(t.validation.rows) + len(t.test.rows) == t.dataset.rows


def test_negatives_are_drawn_from_all_unmet_items_alike() -> None:
    """The first user has few unmet items, which are shuffled; the others are drawn by rejection."""
    pairs = [*((0, i) for i in range(12)), *((u, u % 3) for u in range(1, 7))]
    count = np.zeros((7, 20))
    for seed in range(400):
        data = task(interactions([*pairs, *((7, i) for i in range(12, 20))]), seed=seed, negatives=1).dataset
        np.add.at(count, tuple(np.array([p for p in pairs_of(data, np.arange(1, 52, 2)) if p[0] < 7]).T), 1)
    assert (count[0, :12] == 0).all()
    assert count[0, 12:].min() >= 400  # 12 negatives of 8 unmet items: each at least once
    assert count[0].sum() == 12 * 400
    assert count[1:].sum() == 6 * 400
    rest = np.array([np.delete(row, u % 3) for u, row in enumerate(count[1:], 1)])
    assert ((rest - 400 / 19) ** 2 / (400 / 19)).sum() == pytest.approx(6 * 18, abs=60)
