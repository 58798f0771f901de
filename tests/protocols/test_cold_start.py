"""Warm and cold users and items."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toys import interactions, pairs_of

from fmlab.contracts import Task
from fmlab.errors import DataError
from fmlab.evaluation import evaluate
from fmlab.plugin.registry import build

# Users 0 to 9 come one after the other; items 15 to 19 have two interactions each, the others many.
PAIRS = [(u, i) for u in range(10) for i in range(15) if (u + i) % 4]
PAIRS += [(u, 15 + (u + k) % 5) for u in range(10) for k in range(1)]
TIME = np.array([1000 * u + (7 * i) % 20 for u, i in PAIRS])
DATA = interactions(PAIRS, time=TIME)
COLD_USERS, COLD_ITEMS = {8, 9}, set(range(15, 20))
ITEM_COUNT = np.bincount([i for _, i in PAIRS])


def task(data=DATA, **options) -> Task:
    return build("protocol", {"name": "cold_start", "cold_items": 3, **options}, data)


def positives_of(t: Task, rows) -> list[tuple[int, int]]:
    rows = np.asarray(rows)
    return pairs_of(t.dataset, rows[np.asarray(t.dataset.label)[rows] > 0])


def test_cold_users_keep_their_first_interactions_only() -> None:
    assert ITEM_COUNT[15:].tolist() == [2] * 5
    assert ITEM_COUNT[:15].min() >= 3
    for shots in (0, 1, 4):
        t = task(shots=shots)
        trained = positives_of(t, t.training.rows)
        for u in COLD_USERS:
            mine = sorted((p for p in PAIRS if p[0] == u), key=lambda p: TIME[PAIRS.index(p)])
            assert sorted(p for p in trained if p[0] == u) == sorted(mine[:shots])
        assert all(any(u == v for v, _ in trained) for u in range(8))


def test_the_parts_share_nothing_and_are_of_the_asked_sizes() -> None:
    t = task(validation=0.1, test=0.2)
    parts = [positives_of(t, r) for r in (t.training.rows, t.validation.rows, t.test.rows)]
    assert sorted(p for part in parts for p in part) == sorted(PAIRS)
    warm = [p for p in PAIRS if p[0] not in COLD_USERS]
    held = [p for part in parts[1:] for p in part]
    assert len([p for p in held if p[0] not in COLD_USERS]) == round(len(warm) * 0.3)
    assert len(parts[1]) == round(len(held) / 3)
    rows = np.concatenate([t.training.rows, t.validation.rows, t.test.rows])
    assert np.sort(rows).tolist() == list(range(3 * len(PAIRS)))  # two negatives each, in the part of their positive
    assert t.dataset.label.reshape(-1, 3).tolist() == [[1, -1, -1]] * len(PAIRS)
    assert not set(pairs_of(t.dataset, np.flatnonzero(t.dataset.label < 0))) & set(PAIRS)
    assert np.array_equal(t.dataset.split, np.repeat(t.dataset.split[::3], 3))


class ByPlace(torch.nn.Module):
    """Scores that differ from row to row: the item's feature id."""

    def forward(self, ids, values=None):
        return ids[..., 2].double() / 10


def test_figures_of_a_scenario_are_those_of_its_rows() -> None:
    t = task(shots=2)
    values = evaluate(t.test, ByPlace().eval(), t.dataset).values
    rows, data = t.test.rows, t.dataset
    score = data.row_ids(rows).ids[:, 2] / 10
    assert score.max() > 1
    error = (score.clip(-1, 1) - data.label[rows]) ** 2  # clipped to the labels, as ratings are
    user, item = data.user[rows], data.item[rows]
    cold_u, cold_i = np.isin(user, list(COLD_USERS)), np.isin(item, list(COLD_ITEMS))
    for name, mask in {
        "w-w": ~cold_u & ~cold_i,
        "w-c": ~cold_u & cold_i,
        "c-w": cold_u & ~cold_i,
        "c-c": cold_u & cold_i,
    }.items():
        if mask.any():
            assert values[f"rmse.{name}"] == pytest.approx(error[mask].mean() ** 0.5)
        else:
            assert f"rmse.{name}" not in values
    assert values["rmse"] == pytest.approx(error.mean() ** 0.5)
    trained = [u for u, _ in positives_of(t, t.training.rows)]
    few = np.isin(user, [u for u in range(10) if 1 <= trained.count(u) <= 4])
    assert few[cold_u].all()  # two shots
    assert values["rmse.n1-4"] == pytest.approx(error[few].mean() ** 0.5)
    assert "rmse.n0" not in values
    assert "rmse.n0" in evaluate(task(shots=0).test, ByPlace().eval(), task(shots=0).dataset).values


def test_ranking_gives_the_same_scenarios() -> None:
    t = task(task="ranking", n_candidates=3)
    assert t.training.negatives == 2
    assert t.monitor == "sampled_ndcg@10"
    values = evaluate(t.test, ByPlace().eval(), t.dataset).values
    each = evaluate(t.test, ByPlace().eval(), t.dataset).units
    cold = np.isin(t.dataset.user[each["row"]], list(COLD_USERS))
    w = np.isin(t.dataset.item[each["row"]], list(COLD_ITEMS))
    assert values["hr@10.c-w"] == pytest.approx(each["hr@10"][cold & ~w].mean())
    assert values["ndcg@10.w-w"] == pytest.approx(each["ndcg@10"][~cold & ~w].mean())


def test_the_step_counts_what_is_cold_and_the_seed_settles_the_rest() -> None:
    t = task()
    assert "2 cold users, 5 cold items; tested: w-w" in " ".join(s.name for s in t.dataset.steps)
    assert np.array_equal(t.test.rows, task().test.rows)
    assert not np.array_equal(t.test.rows, task(seed=1).test.rows)


def test_data_without_times_or_without_cold_users_are_refused() -> None:
    with pytest.raises(DataError, match="has no times"):
        task(interactions(PAIRS))
    with pytest.raises(DataError, match="both warm and cold users"):
        task(cold_users=0.01)


@pytest.mark.parametrize("negatives", [2, 5])
@pytest.mark.parametrize("given", [False, True])
def test_no_judged_row_is_a_negative_of_training(given: bool, negatives: int) -> None:
    data = DATA
    if given:
        data = replace(DATA, split=task().dataset.split[::3])
    for seed in range(5):
        t = task(data, negatives=negatives, seed=seed)
        parts = [set(pairs_of(t.dataset, rows)) for rows in (t.training.rows, t.validation.rows, t.test.rows)]
        assert not parts[0] & parts[2]
        assert not parts[0] & parts[1]
        assert not parts[1] & parts[2]
