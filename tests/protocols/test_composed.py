"""Filter, split and evaluation by options."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import interactions, pairs_of

from fmlab.config.composition import compose
from fmlab.contracts import Task
from fmlab.errors import DataError, FmlabError
from fmlab.evaluation import evaluate
from fmlab.plugin.registry import build

GRID = [(u, i) for u in range(20) for i in range(25) if (3 * u + 2 * i) % 5 < 3]
N = len(GRID)


def task(data=None, **options) -> Task:
    return build("protocol", {"name": "composed", **options}, interactions(GRID) if data is None else data)


def rows_of(t: Task) -> list[np.ndarray]:
    return [t.training.rows, t.validation.rows, t.test.rows]


def recbole(total: int, ratios: tuple[float, float, float]) -> list[int]:
    """How many rows of a user RecBole puts into each part: its `_calcu_split_ids`, written again."""
    count = [int(r * total) for r in ratios]
    count[0] = total - sum(count[1:])
    for n in (1, 2):
        if count[0] <= 1:
            break
        if 0 < ratios[-n] * total < 1:
            count[-n] += 1
            count[0] -= 1
    return count


@pytest.mark.parametrize("split", ["user_random", "user_time"])
def test_shares_of_users_are_those_of_recbole(split: str) -> None:
    sizes = np.r_[np.arange(1, 41), 3]
    pairs = [(u, i) for u, n in enumerate(sizes) for i in range(n)] + [(u, 45) for u in range(41)] + [(41, 60)]
    time = np.random.default_rng(0).permutation(len(pairs))
    t = task(interactions(pairs, time=time), split=split)
    user = np.asarray(t.dataset.user)
    for u, n in enumerate(sizes + 1):
        assert [int((user[r] == u).sum()) for r in rows_of(t)] == recbole(int(n), (0.8, 0.1, 0.1))
        if split == "user_time":
            parts = [np.asarray(t.dataset.time)[r[user[r] == u]] for r in rows_of(t)]
            assert all(a.max() < b.min() for a, b in pairwise(parts) if len(a) and len(b))
    assert sorted(np.concatenate(rows_of(t)).tolist()) == list(range(len(pairs)))


def test_whole_numbers_leave_so_many_out() -> None:
    time = np.random.default_rng(0).permutation(N)
    ours = task(interactions(GRID, time=time), split="user_time", validation=1, test=1, by="row")
    theirs = build("protocol", {"name": "leave_one_out", "n_candidates": 3}, interactions(GRID, time=time))
    for a, b in zip(rows_of(ours), rows_of(theirs), strict=True):
        assert sorted(a.tolist()) == sorted(b.tolist())


def test_folds_are_disjoint_and_cover_all_rows() -> None:
    folds = [task(split="k_fold", folds=4, fold=n) for n in range(4)]
    tests = [set(pairs_of(t.dataset, t.test.rows)) for t in folds]
    assert set.union(*tests) == set(GRID)
    assert sum(map(len, tests)) == N
    assert max(map(len, tests)) - min(map(len, tests)) <= 1
    for t in folds:
        assert sorted(np.concatenate(rows_of(t)).tolist()) == list(range(N))
    with pytest.raises(DataError, match="from 0 to 3, got 4"):
        task(split="k_fold", folds=4, fold=4)


def test_repetitions_differ_and_are_drawn_by_the_seed() -> None:
    first, again, other = (task(fold=n, seed=7).test.rows.tolist() for n in (1, 1, 2))
    assert first == again
    assert first != other
    with pytest.raises(DataError, match="nothing that could be repeated"):
        task(interactions(GRID, time=np.arange(N)), split="time", fold=1)


@pytest.mark.parametrize("split", ["random", "k_fold"])
@pytest.mark.parametrize("group", ["pair", "user", "item", "siblings"])
def test_groups_stay_together(split: str, group: str) -> None:
    rng = np.random.default_rng(0)
    pairs = [GRID[n] for n in rng.integers(0, N, 600)]
    context = [n % 5 for n in range(601)]
    data = interactions([*pairs, (19, 24)], label=rng.integers(0, 2, 601).astype(np.float32), context=context)
    t = task(data, split=split, group=group, evaluation="rows")
    user, item = data.user.tolist(), data.item.tolist()
    events = list(zip(user, context, strict=True))
    keys = {"pair": pairs_of(data), "user": user, "item": item, "siblings": events}[group]
    parts = [{keys[r] for r in rows} for rows in rows_of(t)]
    assert len(set.union(*parts)) == sum(map(len, parts))
    assert sum(map(len, rows_of(t))) == 601


def test_filters_are_those_of_loops() -> None:
    rng = np.random.default_rng(0)
    time = rng.integers(0, 100, N) * 86_400_000_000
    label = rng.integers(1, 6, N).astype(np.float32)
    t = task(
        interactions(GRID, time=time, label=label),
        **{"min_label": 3, "since": "1970-01-11", "until": "1970-03-22", "max_user_interactions": 8},
        **{"min_item_interactions": 2, "metrics": ["ndcg@5:gains=label"], "monitor": "ndcg@5:gains=label"},
    )
    day = time // 86_400_000_000
    kept = [n for n in range(N) if label[n] >= 3 and 10 <= day[n] < 80]
    kept = [n for n in kept if sum(GRID[m][0] == GRID[n][0] for m in kept) <= 8]
    kept = [n for n in kept if sum(GRID[m][1] == GRID[n][1] for m in kept) >= 2]
    names = t.dataset.keys
    found = {(names["user"][u], names["item"][i]) for u, i in pairs_of(t.dataset)}
    assert found == {(f"u{GRID[n][0]}", f"i{GRID[n][1]}") for n in kept}
    by_pair = {(f"u{GRID[n][0]}", f"i{GRID[n][1]}"): label[n] for n in kept}
    test = t.test
    at = [(names["user"][u], names["item"][i]) for u, i in zip(test.user, test.item.tolist(), strict=True)]
    assert test.gains.tolist() == [by_pair[p] for p in at]
    with pytest.raises(DataError, match=r"since must be a date such as"):
        task(since="last year")
    with pytest.raises(DataError, match="needs times"):
        task(since="2020-01-01")


class Counting(torch.nn.Module):
    """Items in order of their number."""

    def forward(self, ids, values=None):
        return -ids[..., 2].float()


def test_what_is_left_out_of_the_test_is_an_option() -> None:
    data = interactions(GRID)
    for exclude in (True, False):
        t = task(data, exclude_validation=exclude, metrics=["recall@5", "mrr"], monitor="mrr")
        report = evaluate(t.test, Counting().eval(), t.dataset)
        pairs = [pairs_of(t.dataset, r) for r in rows_of(t)]
        hidden = set(pairs[0]) | (set(pairs[1]) if exclude else set())
        for user, value in zip(report.units["user"].tolist(), report.units["recall@5"].tolist(), strict=True):
            shown = [i for i in range(25) if (user, i) not in hidden][:5]
            relevant = [i for u, i in pairs[2] if u == user]
            assert value == sum(i in shown for i in relevant) / len(relevant)
        assert ("validation" in t.described["left out of lists"]) is exclude


def test_sampled_candidates_are_unmet_and_follow_popularity() -> None:
    many = [(u, i) for u in range(60) for i in range(40) if (u * 7 + i * i) % (2 + i // 4) == 0]
    shares = []
    for by in ("uniform", "popularity"):
        t = task(interactions(many), evaluation="sampled", n_candidates=5, candidates_by=by)
        assert all(name.startswith("sampled_") for name in t.test.metrics)
        drawn, users = t.test.candidates.numpy(), t.test.user[t.test.begin[:-1]]
        met = set(pairs_of(t.dataset))
        assert not any((u, i) in met for u, row in zip(users.tolist(), drawn.tolist(), strict=True) for i in row)
        assert all(len(set(row)) == 5 for row in drawn.tolist())
        count = np.bincount(t.dataset.item[t.training.rows], minlength=40)
        shares.append(count[drawn].mean())
    assert shares[1] > 1.1 * shares[0]


def test_a_file_of_candidates_is_read(tmp_path: Path) -> None:
    time = np.random.default_rng(0).permutation(N)
    data, file = interactions(GRID, time=time), tmp_path / "candidates.tsv"
    whole = build("protocol", {"name": "leave_one_out", "n_candidates": 4, "candidate_file": str(file)}, data)
    options = {"by": "row", "candidate_file": str(file), "n_candidates": 4}
    ours = task(data, split="user_time", validation=1, test=1, metrics=["mrr"], **options)
    a, b = (evaluate(t.test, Counting().eval(), t.dataset) for t in (ours, whole))
    assert a.units["sampled_mrr"].tolist() != []
    ranks = b.units["sampled_ndcg@10"]
    assert (np.argsort(-a.units["sampled_mrr"], kind="stable") == np.argsort(-ranks, kind="stable")).all()
    with pytest.raises(DataError, match="it goes with"):
        task(data, candidate_file=str(file), n_candidates=4)
    with pytest.raises(DataError, match="must list the test rows"):
        task(data, split="random", **options)


def test_labeled_rows_are_classes_or_numbers() -> None:
    rng = np.random.default_rng(0)
    clicks = task(interactions(GRID, label=rng.integers(0, 2, N).astype(np.float32)), evaluation="rows")
    assert (clicks.monitor, clicks.training.negatives, set(clicks.test.metrics)) == ("logloss", 0, {"auc", "logloss"})
    stars = task(interactions(GRID, label=rng.integers(1, 6, N).astype(np.float32)), evaluation="rows")
    assert (stars.monitor, stars.maximize) == ("rmse", False)
    with pytest.raises(DataError, match="evaluation=rows needs labels"):
        task(evaluation="rows")


def test_a_given_split_keeps_pairs_in_one_part_and_refit_takes_the_validation() -> None:
    split = np.random.default_rng(0).choice(3, N, p=[0.6, 0.2, 0.2]).astype(np.int8)
    t = task(interactions(GRID, split=split), refit=True)
    assert sorted(t.refit.tolist()) == np.flatnonzero(split < 2).tolist()
    twice, parts = interactions([*GRID, *GRID[:10]]), np.r_[split, (split[:10] + 1) % 3].astype(np.int8)
    with pytest.raises(DataError, match="must not share interactions"):
        task(replace(twice, split=parts))


def test_a_context_asks_for_lists_of_rows() -> None:
    data = interactions(GRID, context=[n % 5 for n in range(N)])
    with pytest.raises(DataError, match="without context"):
        task(data)
    assert task(data, by="row").monitor == "ndcg@10"
    with pytest.raises(FmlabError, match="kept together"):
        task(group="pair", split="user_random")
    with pytest.raises(DataError, match="has no context"):
        task(group="siblings", split="random")


def test_the_former_name_of_the_evaluation_works() -> None:
    sampled = ["protocol=composed", "protocol.judge=sampled", "protocol.n_candidates=20"]
    assert compose(sampled).protocol == compose([o.replace("judge", "evaluation") for o in sampled]).protocol
