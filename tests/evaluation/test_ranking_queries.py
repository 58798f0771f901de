"""Lists with all relevant items of a user, for models that read histories: that before the earliest judged row."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from fmlab_protocols.composed import Composed
from scorers import data
from torch import Tensor, nn

from fmlab.data import SECOND, Dataset
from fmlab.data.model_inputs import History
from fmlab.data.negative_sampling import UserItemSet
from fmlab.evaluation import RankedLists, evaluate

ITEMS, LENGTH = 17, 3
WEIGHT = torch.from_numpy(np.random.default_rng(3).integers(-2, 3, (ITEMS, ITEMS))).float()


class Sides(nn.Module):
    """The score of an item is a sum of whole numbers over the last items of the history: by both sides."""

    history_length = LENGTH

    def __init__(self, dataset: Dataset) -> None:
        super().__init__()
        schema = dataset.schema
        self.first = schema.offsets[[f.name for f in schema.fields].index("item")] + 1
        self.place = schema.item.start

    def encode_query(self, ids: Tensor, values: Tensor | None = None, *, history: History) -> tuple[Tensor, Tensor]:
        item = (history.ids[..., 0] - self.first).clamp(min=0).long()
        total = (WEIGHT[item] * history.mask.unsqueeze(-1)).sum(-2)
        return torch.zeros_like(total[..., 0]), total

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        one = nn.functional.one_hot(ids[..., 0].long() - self.first, ITEMS).float()
        return torch.zeros_like(one[..., 0]), one

    def forward(self, ids: Tensor, values: Tensor | None = None, *, history: History) -> Tensor:
        vector = self.encode_item(ids[..., self.place :])[1]
        return (self.encode_query(ids[..., : self.place], history=history)[1] * vector).sum(-1)

    def link(self, z: Tensor) -> Tensor:
        return z


class Whole(nn.Module):
    """The same by whole rows alone."""

    history_length = LENGTH

    def __init__(self, dataset: Dataset) -> None:
        super().__init__()
        self.inner = Sides(dataset)

    def forward(self, ids: Tensor, values: Tensor | None = None, *, history: History) -> Tensor:
        return self.inner(ids, history=history)


def timed(*, times: bool = True) -> Dataset:
    when = np.random.default_rng(5).integers(0, 40, 90).astype(np.int64) * SECOND  # some of one user at one time
    return replace(data(0), label=None, truth=None, time=when if times else None)


def before(dataset: Dataset, allowed: np.ndarray, user: int, judged: np.ndarray) -> list[int]:
    """The last items of a user before the earliest of the judged rows, by a loop."""
    when = np.arange(dataset.rows) if dataset.time is None else np.asarray(dataset.time)
    moment = min(when[r] for r in judged if dataset.user[r] == user)
    own = [r for r in allowed if dataset.user[r] == user and when[r] < moment]
    return [int(dataset.item[r]) for r in sorted(own, key=lambda r: (when[r], r))][-LENGTH:]


@pytest.mark.parametrize("kind", [Sides, Whole])
@pytest.mark.parametrize("times", [True, False])
@pytest.mark.parametrize("cells", [None, 17 * 3])
def test_a_list_is_asked_for_at_the_earliest_judged_row(kind: Any, times: bool, cells: int | None) -> None:
    dataset = timed(times=times)
    rows = np.random.default_rng(1).permutation(dataset.rows)
    train, test = rows[:50], rows[50:]
    seen = UserItemSet(dataset.user[train], dataset.item[train], 12, ITEMS)
    judge = RankedLists(dataset, test, seen, ("mrr", "recall@3"), by="user", ties="index", cells=cells)
    report = evaluate(judge, kind(dataset), dataset, history=train)
    lengths = []
    for user, mrr in zip(report.units["user"].tolist(), report.units["mrr"].tolist(), strict=True):
        past = before(dataset, train, user, test)
        lengths.append(len(past))
        score = WEIGHT[past].sum(0).tolist() if past else [0.0] * ITEMS
        met = set(dataset.item[train][dataset.user[train] == user].tolist())
        relevant = set(dataset.item[test][dataset.user[test] == user].tolist())
        order = sorted((i for i in range(ITEMS) if i not in met), key=lambda i: (-score[i], i))
        assert mrr == 1 / (1 + min(order.index(i) for i in relevant))
    assert min(lengths) < max(lengths) == LENGTH


@pytest.mark.parametrize(
    ("split", "holds"), [("user_time", True), ("time", True), ("user_random", False), ("random", False)]
)
def test_histories_of_the_test_hold_the_validation_where_it_came_before(split: str, holds: bool) -> None:
    task = Composed(timed(), split=split, validation=0.2, test=0.2, ties="index", on_saturated="drop")
    known = task.training.rows if task.test_history is None else task.test_history
    assert np.isin(task.validation.rows, known).all() == holds
    assert not np.isin(task.test.rows, known).any()
    judged = np.asarray(task.test.rows)
    for user in np.unique(task.dataset.user[judged]).tolist():
        times = task.dataset.time[[r for r in judged if task.dataset.user[r] == user]]
        if holds and split == "time":
            assert task.dataset.time[known].max() <= times.min()
