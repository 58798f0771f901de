"""Lists with all relevant items of a user, by every path and tie rule, against a double loop."""

import numpy as np
import pytest
import torch
from scorers import Constant, Sides, States, Whole, data

from fmlab.data import Dataset
from fmlab.data.negative_sampling import UserItemSet
from fmlab.errors import DataError
from fmlab.evaluation import RankedLists, evaluate
from fmlab.evaluation.ranks import first_items

METRICS = ("recall@3", "ndcg@3", "map@5", "hr@1", "mrr", "auc", "precision@40")
BEYOND = (
    "coverage@3",
    "gini@3",
    "entropy@3",
    "novelty@3",
    "popularity@3",
    "popularity_lift@3",
    "tail@3",
    "diversity@3",
)


def split(dataset: Dataset) -> tuple[np.ndarray, np.ndarray, UserItemSet]:
    """Training rows, test rows, and what is trained on."""
    rows = np.random.default_rng(1).permutation(dataset.rows)
    train, test = rows[:50], rows[50:]
    schema = dataset.schema
    return train, test, UserItemSet(dataset.user[train], dataset.item[train], schema.n_users, schema.n_items)


def judge(dataset: Dataset, metrics=METRICS, **options) -> RankedLists:
    train, test, seen = split(dataset)
    return RankedLists(dataset, test, seen, metrics, by="user", trained=train, **options)


def order_of(model: torch.nn.Module, dataset: Dataset, user: int, seen: set[int]) -> tuple[list[int], dict[int, float]]:
    """Items in order of their scores, equal ones by number, and all scores."""
    ids = [torch.tensor([*dataset.users.ids[user], *i]) for i in dataset.items.ids]
    score = {n: float(model(row)) for n, row in enumerate(ids) if n not in seen}
    return sorted(score, key=lambda i: (-score[i], i)), score


@pytest.mark.parametrize("ties", ["expected", "worst", "best", "index"])
@pytest.mark.parametrize("kind", [Whole, Sides, States])
def test_lists_are_those_of_a_double_loop(kind: type[Whole], ties: str) -> None:
    dataset = data(0)
    model = kind(dataset.schema, 0)
    train, test, _ = split(dataset)
    report = evaluate(judge(dataset, (*METRICS, *BEYOND), ties=ties), model, dataset)
    users = sorted(set(dataset.user[test].tolist()))
    assert sorted(report.units["user"].tolist()) == users
    shown, slow = [], {}
    for user in users:
        seen = set(dataset.item[train][dataset.user[train] == user].tolist())
        relevant = dataset.item[test][dataset.user[test] == user].tolist()
        order, score = order_of(model, dataset, user, seen)
        ranks = []
        for i in relevant:
            above, equal = sum(s > score[i] for s in score.values()), [j for j in score if score[j] == score[i]]
            n = len(equal)
            among = {"expected": (n - 1) / 2, "worst": n - 1, "best": 0, "index": sum(j < i for j in equal)}
            ranks.append(1 + above + among[ties])
        slow[user] = sorted(ranks)
        shown.append(order[:3])
    at = {int(u): n for n, u in enumerate(report.units["user"])}
    for user, ranks in slow.items():
        assert report.units["recall@3"][at[user]] == sum(r <= 3 for r in ranks) / len(ranks)
        assert report.units["mrr"][at[user]] == 1 / ranks[0]
        ideal = sum(1 / np.log2(2 + n) for n in range(min(3, len(ranks))))
        assert report.units["ndcg@3"][at[user]] == pytest.approx(
            sum(1 / np.log2(1 + r) for r in ranks if r <= 3) / ideal
        )
    flat = [i for row in shown for i in row]
    popularity = np.bincount(dataset.item[train], minlength=17)
    assert report.values["coverage@3"] == len(set(flat)) / 17
    assert report.values["popularity@3"] == pytest.approx(popularity[flat].mean())


def test_one_relevant_item_is_the_same_list_either_way() -> None:
    dataset = data(2)
    train, test, seen = split(dataset)
    _, first = np.unique(dataset.user[test], return_index=True)
    options = {"trained": train, "metrics": (*METRICS, *BEYOND)}
    model = Sides(dataset.schema)
    by_user = evaluate(RankedLists(dataset, test[first], seen, by="user", **options), model, dataset)
    by_row = evaluate(RankedLists(dataset, test[first], seen, by="row", **options), model, dataset)
    assert by_user.values == pytest.approx(by_row.values)
    assert by_user.units["row"].tolist() == by_row.units["row"].tolist()


@pytest.mark.parametrize("ties", ["expected", "index"])
def test_candidates_of_a_user_are_ranked_with_its_relevant_items(ties: str) -> None:
    dataset = data(0)
    model, (_, test, _) = Whole(dataset.schema, 0), split(dataset)
    users = np.unique(dataset.user[test])
    drawn = torch.from_numpy(np.random.default_rng(0).permuted(np.tile(np.arange(17), (len(users), 1)), axis=1)[:, :6])
    metrics = ("sampled_recall@3", "sampled_mrr", "sampled_auc")
    for more in ((), ("recall@3",)):  # scored alone, and with all items
        report = evaluate(judge(dataset, (*metrics, *more), candidates=drawn, ties=ties), model, dataset)
        at = {int(u): n for n, u in enumerate(report.units["user"])}
        for user, candidates in zip(users.tolist(), drawn.tolist(), strict=True):
            relevant = dataset.item[test][dataset.user[test] == user].tolist()
            _, score = order_of(model, dataset, user, set())
            names = [*relevant, *(c for c in candidates if c not in relevant)]
            ranks = []
            for i in relevant:
                equal = [j for j in names if score[j] == score[i]]
                among = (len(equal) - 1) / 2 if ties == "expected" else sum(j < i for j in equal)
                ranks.append(1 + sum(score[j] > score[i] for j in names) + among)
            assert report.units["sampled_mrr"][at[user]] == 1 / min(ranks)
            assert report.units["sampled_recall@3"][at[user]] == sum(r <= 3 for r in ranks) / len(ranks)


def test_the_size_of_blocks_and_the_order_of_rows_change_nothing() -> None:
    dataset = data(0)
    model, names = Sides(dataset.schema), (*METRICS, *BEYOND)
    whole = evaluate(judge(dataset, names), model, dataset)
    for cells in (1, 17 * 3, 17 * 40):
        cut = evaluate(judge(dataset, names, cells=cells), model, dataset)
        assert cut.values == whole.values
        assert all((cut.units[k] == whole.units[k]).all() for k in whole.units)


def test_first_items_are_settled_by_number() -> None:
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.integers(0, 4, (300, 23)).astype(np.float32))
    scores[rng.random((300, 23)) < 0.3] = -torch.inf
    scores[:10] = -torch.inf
    found = first_items(scores, 8).tolist()
    for row, items in zip(scores.tolist(), found, strict=True):
        order = sorted((i for i in range(23) if row[i] > -np.inf), key=lambda i: (-row[i], i))[:8]
        assert items == order + [-1] * (8 - len(order))
    assert first_items(scores[:1], 30).shape == (1, 30)


def test_a_constant_model_stands_in_the_middle() -> None:
    dataset = data(0)
    report = evaluate(judge(dataset), Constant(), dataset)
    assert report.values["auc"] == pytest.approx(0.5)
    assert report.values["hr@1"] == 0


def test_what_lists_cannot_have_is_refused() -> None:
    with pytest.raises(DataError, match="without context"):
        judge(data(0, context=True))
    dataset = data(0)
    _, test, seen = split(dataset)
    with pytest.raises(DataError, match="candidates for each"):
        judge(dataset, ("sampled_mrr",), candidates=torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(DataError, match="among all"):
        judge(dataset, ("sampled_coverage@3",), candidates=torch.zeros(12, 2, dtype=torch.int64))
    with pytest.raises(DataError, match="what was trained on"):
        evaluate(RankedLists(dataset, test, seen, ("novelty@3",), by="user"), Constant(), dataset)
