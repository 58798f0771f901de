"""Ranking: fmlab's full ranking of all items against scoring expanded rows one user at a time."""

from collections.abc import Iterator
from functools import partial
from itertools import cycle, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Results, Setting, Target, compare, now
from benchmarks.shapes import MOVIELENS, TOY_COUNTS, interactions
from fmlab.data import Dataset
from fmlab.data.batch import Features, Tables
from fmlab.data.negative_sampling import UserItemSet
from fmlab.evaluation import RankedLists, evaluate
from fmlab.plugin.registry import build

ABOUT = "all items for each test user, the same FM; items the user has met are left out on both sides"
BATCH = 20  # users that the slow side ranks in one measurement


def run(setting: Setting) -> Iterator[Results]:
    size = TOY_COUNTS if setting.toy else MOVIELENS
    data = interactions(size)
    torch.manual_seed(0)
    model = build("model", {"name": "fm", "dim": 10}, data.schema).eval()
    slow = RowByRow(model, data)
    held_out = setting.size(10_000, 50)
    task = build("protocol", {"name": "full_ranking", "validation": held_out, "test": held_out}, data)
    _, one_each = np.unique(np.asarray(data.user), return_index=True)
    observed = UserItemSet(np.asarray(data.user), np.asarray(data.item), data.schema.n_users, data.schema.n_items)
    every_user = RankedLists(data, one_each, observed, ("mrr", "hr@10", "ndcg"))
    for what, evaluation in (("a test item of each user", every_user), (f"{held_out:,} test rows", task.test)):
        users = len(np.unique(evaluate(evaluation, model, data).units["user"]))
        yield compare(
            f"{size}, {what} ({users:,} users)",
            {
                "a user at a time": partial(slow.users_per_second, -(-len(evaluation.rows) // users)),
                "fmlab, full ranking": partial(_users_per_second, evaluation, model, data, users),
            },
            setting,
            unit="users/s",
            more=True,
            reference="a user at a time",
            targets={"fmlab, full ranking": Target(ratio=100)},
        )


def _users_per_second(evaluation: Any, model: Any, data: Dataset, users: int) -> float:
    began = now()
    evaluate(evaluation, model, data)
    return users / (now() - began)


class RowByRow:
    """Every (user, item) row is written out and sent through `forward`, as libraries rank models that only predict."""

    def __init__(self, model: Any, data: Dataset) -> None:
        assert data.user is not None
        assert data.item is not None
        self.model, self.tables = model, Tables.of(data)
        order = np.argsort(data.user, kind="stable")
        bounds = np.searchsorted(data.user[order], np.arange(data.schema.n_users + 1))
        item = torch.from_numpy(data.item[order].astype(np.int64))
        self.positives = [item[a:b] for a, b in pairwise(bounds)]
        shuffled = np.random.default_rng(0).permutation(data.schema.n_users)
        self.users: Iterator[int] = cycle(int(u) for u in shuffled if len(self.positives[u]))
        self.users_per_second(1)

    def users_per_second(self, items: int) -> float:
        """Speed over the next users, with the ranks of that many items of each."""
        began = now()
        with torch.no_grad():
            for _ in range(BATCH):
                user = next(self.users)
                self.rank(user, self.positives[user][:items])
        return BATCH / (now() - began)

    def rank(self, user: int, wanted: Tensor) -> Tensor:
        """Rank of each wanted item among the items that the user has not met; ties by expected position."""
        assert self.tables.users is not None
        assert self.tables.items is not None
        one = self.tables.users.take(torch.tensor([user]))
        rows = Features(one.ids).join(self.tables.items)
        score = self.model(rows.ids, rows.values)
        own = score[wanted]
        score[self.positives[user]] = -torch.inf
        greater = (score > own.unsqueeze(1)).sum(1)
        equal = (score == own.unsqueeze(1)).sum(1)
        return 1 + greater + equal / 2
