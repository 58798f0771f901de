"""Histories hold earlier interactions of the user alone: by a plain loop, and under every protocol."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fmlab_protocols.ctr import Ctr
from fmlab_protocols.full_ranking import FullRanking
from fmlab_protocols.leave_one_out import LeaveOneOut
from fmlab_protocols.temporal import Temporal
from hypothesis import given
from hypothesis import strategies as st

from fmlab.contracts import Task
from fmlab.data import SECOND, Array, Dataset, Field, Schema, Table
from fmlab.data.batch import Batch, Tables
from fmlab.data.histories import Histories
from fmlab.errors import DataError
from fmlab.training.loader import TrainingLoader

USERS, ITEMS, ROWS = 12, 30, 260


def interactions(*, labeled: bool = False, times: bool = True, seed: int = 0) -> Dataset:
    """Random users and items, each pair once; times repeat."""
    rng = np.random.default_rng(seed)
    pair = rng.permutation(USERS * ITEMS)[:ROWS]
    schema = Schema((Field("user", "user", USERS + 1), Field("item", "item", ITEMS + 1)), USERS, ITEMS)
    ids = [np.arange(1, n + 1, dtype=np.int32)[:, None] for n in (USERS, ITEMS)]
    return Dataset(
        "interactions",
        schema,
        ROWS,
        user=(pair // ITEMS).astype(np.int32),
        item=(pair % ITEMS).astype(np.int32),
        users=Table(ids[0]),
        items=Table(ids[1] + np.int32(USERS + 1)),
        label=rng.integers(0, 2, ROWS).astype(np.float32) if labeled else None,
        time=rng.integers(0, 90, ROWS).astype(np.int64) * SECOND if times else None,
    )


def earlier(data: Dataset, allowed: Array, row: int, length: int) -> list[int]:
    """The rule in a loop: items of allowed rows of the row's user that are earlier, the latest at the end."""
    when = np.arange(data.rows) if data.time is None else np.asarray(data.time)
    label = np.ones(data.rows) if data.label is None else np.asarray(data.label)
    own = [r for r in allowed if data.user[r] == data.user[row] and when[r] < when[row] and label[r] > 0]
    return [int(data.item[r]) for r in sorted(own, key=lambda r: (when[r], r))][-length:]


def read(data: Dataset, batch: Batch, length: int = 5) -> list[list[int]]:
    """What a batch gives: the items at the places that are no padding."""
    history = batch.history(length)
    assert history.ids.shape[1] <= length
    assert (history.mask.int().diff(dim=1) >= 0).all(), "padding stands in front"
    unknown = data.schema.offsets[data.schema.column_field[data.schema.item.start]]
    assert (history.ids[~history.mask] == unknown).all(), "padding is the unknown feature"
    return [(ids[mask, 0] - unknown - 1).tolist() for ids, mask in zip(history.ids, history.mask, strict=True)]


def batch_of(data: Dataset, rows: Array, allowed: Array) -> Batch:
    tables, user = Tables.of(data, allowed), torch.from_numpy(np.asarray(data.user)[rows]).long()
    return Batch(tables, user, None, None, torch.zeros(len(rows)), row=torch.from_numpy(rows))


@pytest.mark.parametrize("labeled", [False, True])
@pytest.mark.parametrize("length", [1, 5, 100])
def test_histories_are_those_of_a_loop(labeled: bool, length: int) -> None:
    data, rows = interactions(labeled=labeled), np.arange(ROWS)
    allowed = np.flatnonzero(np.random.default_rng(1).random(ROWS) < 0.7)
    found = read(data, batch_of(data, rows, allowed), length)
    assert found == [earlier(data, allowed, row, length) for row in rows]


def test_without_times_the_order_of_rows_counts() -> None:
    data, rows = interactions(times=False), np.arange(ROWS)
    assert read(data, batch_of(data, rows, rows)) == [earlier(data, rows, row, 5) for row in rows]


def test_labelled_rows_without_times_have_no_history() -> None:
    with pytest.raises(DataError, match="a history of labeled rows needs times"):
        Histories.of(interactions(labeled=True, times=False), np.arange(ROWS))


def test_a_batch_that_is_of_no_rows_is_of_now() -> None:
    data, users = interactions(), torch.arange(USERS)
    batch = replace(batch_of(data, np.arange(USERS), np.arange(ROWS)), user=users, row=None)
    when, order = np.asarray(data.time), np.arange(ROWS)
    for user, found in zip(range(USERS), read(data, batch, 200), strict=True):
        own = sorted((r for r in order if data.user[r] == user), key=lambda r: (when[r], r))
        assert found == [int(data.item[r]) for r in own]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), max_size=30), st.integers(0, 7), st.integers(1, 4))
def test_any_times_and_ties(events: list[tuple[int, int]], moment: int, length: int) -> None:
    user, when = (
        (np.array(column, np.int64) for column in zip(*events, strict=True)) if events else (np.zeros(0, int),) * 2
    )
    made = Histories(user, np.arange(len(events)), when, 5)
    users = torch.tensor([0, 1, 2, 3, 4, -1])
    place, mask = made.before(users, torch.full((6,), moment), length)
    for who, places, there in zip(users.tolist(), place, mask, strict=True):
        own = [n for n, (u, t) in sorted(enumerate(events), key=lambda e: (e[1][1], e[0])) if u == who and t < moment]
        assert made.item[places[there]].tolist() == own[-length:]


PROTOCOLS = {
    "full_ranking": lambda: FullRanking(interactions(), validation=20, test=20, negatives=2),
    "leave_one_out": lambda: LeaveOneOut(interactions(), n_candidates=4, negatives=2),
    "temporal": lambda: Temporal(interactions(), cold_entities="keep", negatives=2),
    "ctr": lambda: Ctr(interactions(labeled=True), validation=0.2, test=0.2),
    "temporal, labeled": lambda: Temporal(interactions(labeled=True)),
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_no_protocol_lets_a_history_see_its_row_or_a_later_one(name: str) -> None:
    """In training, validation and test."""
    task: Task = PROTOCOLS[name]()
    data, trained = task.dataset, task.training.rows
    for batch in TrainingLoader(data, task.training, batch_size=50, seed=0):
        assert batch.row is not None
        assert read(data, batch) == [earlier(data, trained, row, 5) for row in batch.row.tolist()]
    known = trained if task.test_history is None else task.test_history
    for judge, allowed in ((task.validation, trained), (task.test, known)):
        rows = np.asarray(judge.rows)
        assert not np.isin(rows, allowed).any()
        tables = Tables.of(data, trained).with_history(allowed)
        found = read(data, replace(batch_of(data, rows, trained), tables=tables))
        assert found == [earlier(data, allowed, row, 5) for row in rows]
    if name in ("leave_one_out", "temporal"):
        assert np.isin(np.asarray(task.validation.rows), known).all(), "the validation came before the test"
