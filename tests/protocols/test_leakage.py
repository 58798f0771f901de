"""What parts of a split share, and what of the judged rows no training row has."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import interactions, raw

from fmlab.data import Dataset, Field, Schema, Table
from fmlab.data.leakage import copies, refuse_shared, said, shared_rows, unseen, unseen_of
from fmlab.errors import DataError
from fmlab.plugin.registry import build

PAIRS = [(u, i) for u, i in product(range(8), range(12)) if (3 * u + 5 * i) % 4]
ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 1), st.integers(0, 2)), min_size=4)


@settings(deadline=None)
@given(ROWS, st.booleans())
def test_rows_in_several_parts_are_counted(rows, with_context) -> None:
    rows = [*rows, (0, 0, 0, 0), (0, 1, 0, 1), (0, 2, 0, 2)]  # no part is empty
    split = np.array([r[3] for r in rows], np.int8)
    context = [r[2] for r in rows] if with_context else None
    data = interactions([r[:2] for r in rows], context=context, split=split)
    keys = [r[:3] if with_context else r[:2] for r in rows]
    expected = sum(any(k == other and p != part for other, p in zip(keys, split, strict=True))
                   for k, part in zip(keys, split, strict=True))  # fmt: skip
    assert shared_rows(data) == expected
    if expected:
        with pytest.raises(DataError, match=f"{expected} rows of 'toy' are in more than one"):
            refuse_shared(data, None, "refuse")
    refuse_shared(data, None, "drop")


def test_rows_below_the_threshold_do_not_count() -> None:
    label = np.array([5, 5, 5, 1], np.float32)
    data = interactions([(0, 0), (0, 1), (0, 2), (0, 0)], label=label, split=np.array([0, 1, 2, 2], np.int8))
    assert (shared_rows(data), shared_rows(data, 4)) == (2, 0)


@pytest.mark.parametrize("with_context", [False, True])
def test_rows_with_what_no_training_row_has_are_counted(with_context) -> None:
    rng = np.random.default_rng(0)
    context = rng.integers(0, 5, len(PAIRS)).tolist() if with_context else None
    data = interactions(PAIRS, context=context)
    for n in range(20):
        order = rng.permutation(len(PAIRS))
        trained, judged = order[: 2 + n], order[20:60]
        before, after = raw(data, trained), raw(data, judged)
        names = [data.schema.fields[f].name for f in data.schema.column_field]
        known = {name: {row[c] for row in before for c, f in enumerate(names) if f == name} for name in names}
        known["item"].add("?"), known["tags"].add("?")

        def strange(row, *wanted, known=known, names=names):
            return any(cell not in known[f] for f, cell in zip(names, row, strict=True) if f in wanted)

        found = unseen(data, trained, judged)
        assert found["user"] == sum(strange(r, "user") for r in after)
        assert found["item"] == sum(strange(r, "item") for r in after)
        hours = [strange(r, "hour") for r in after]
        other = [h or strange(r, "group") or strange(r, "tags") for r, h in zip(after, hours, strict=True)]
        assert found["other values"] == sum(other)


def test_what_is_unseen_is_said_of_each_part_that_names_its_rows() -> None:
    data = interactions(PAIRS)
    task = build("protocol", {"name": "full_ranking", "validation": 2, "test": 3}, data)
    found = unseen_of(data, np.arange(3), test=task.test, other=object())
    assert found == {"test": {"rows": 3, **unseen(data, np.arange(3), task.test.rows)}}
    assert found["test"]["user"] > 0
    (line,) = said(found)
    assert line.startswith(f"  rows of test with what no training row has: user {found['test']['user']}, item ")
    assert said({"test": {"rows": 3, "user": 0, "other values": 0}}) == []


def test_every_protocol_takes_a_given_split_and_refuses_a_row_in_two_parts() -> None:
    n = len(PAIRS)
    split = np.array([(1 if k % 9 == 0 else 2 if k % 9 == 4 else 0) for k in range(n)], np.int8)
    last = np.array([2 if k + 1 == n or PAIRS[k + 1][0] != PAIRS[k][0] else k % 3 == 0 for k in range(n)], np.int8)
    label = np.array([k % 2 for k in range(n)], np.float32)
    whole = interactions(PAIRS, split=split, time=np.arange(n))
    cases = {
        "full_ranking": whole,
        "rating": whole,
        "cold_start": whole,
        "leave_one_out": interactions(PAIRS, split=last),
        "ctr": interactions(PAIRS, split=split, label=label),
        "temporal": interactions(PAIRS, split=np.sort(split), time=np.arange(n)),
    }
    for name, data in cases.items():
        options = {"split": "given"} if name == "temporal" else {}
        options |= {"n_candidates": 2} if name == "leave_one_out" else {}
        options |= {"task": "ranking", "cold_entities": "keep"} if name == "temporal" else {}
        task = build("protocol", {"name": name, **options}, data)
        expected = np.count_nonzero(data.split == 2) * (3 if name in ("rating", "cold_start") else 1)
        assert len(task.test.rows) == expected, name
        if name in ("ctr", "temporal"):
            continue
        held = int(np.flatnonzero(data.split == 2)[0])
        twice = interactions(
            [*PAIRS, PAIRS[held]],
            split=np.r_[data.split, np.int8(0)],
            time=None if data.time is None else np.arange(n + 1),
        )
        with pytest.raises(DataError, match=r"2 rows of 'toy' are in more than one; protocol.on_leak=drop"):
            build("protocol", {"name": name, **options}, twice)
        kept = build("protocol", {"name": name, **options, "on_leak": "drop"}, twice)
        assert len(kept.test.rows) == expected


@pytest.mark.parametrize("name", ["ctr", "rating"])
def test_protocols_of_labelled_rows_count_what_their_parts_share(name) -> None:
    split = np.array([k % 3 for k in range(30)], np.int8)
    data = interactions(
        [(k % 5, k % 4) for k in range(30)], split=split, label=(np.arange(30) // 3 % 2).astype(np.float32)
    )
    with pytest.raises(DataError, match=r"4 of 20 judged rows of 'toy' are copies.*on_leak=allow"):
        build("protocol", {"name": name}, data)
    steps = build("protocol", {"name": name, "on_leak": "allow"}, data).dataset.steps
    assert steps[-1].name == f"rows whose user, item and context are in another part too: {shared_rows(data)}"


def test_a_given_split_that_is_not_by_time_is_no_split_by_time() -> None:
    split = np.sort(np.array([k % 3 for k in range(len(PAIRS))], np.int8))
    time = np.arange(len(PAIRS))
    time[0] = len(PAIRS)
    with pytest.raises(DataError, match=r"no row of train is later than one of validation, 1 rows .*split=time"):
        build("protocol", {"name": "temporal", "split": "given"}, interactions(PAIRS, split=split, time=time))


def test_cold_users_of_a_given_split_have_few_training_interactions() -> None:
    split = np.array([2 if u < 2 and i > 3 else 1 if i == 0 or (u, i) == (7, 2) else 0 for u, i in PAIRS], np.int8)
    task = build("protocol", {"name": "cold_start", "shots": 3}, interactions(PAIRS, split=split))
    assert "2 cold users" in task.dataset.steps[-2].name or any("2 cold users" in s.name for s in task.dataset.steps)


def labeled(rows, split, *, users: bool = True, **more):
    """Rows of (user, item, hour, label); without users all columns are context."""
    hours, label = [r[2] for r in rows], np.array([r[3] for r in rows], np.float32)
    data = interactions([r[:2] for r in rows], context=hours, label=label, split=np.array(split, np.int8), **more)
    if users:
        return data
    table = Table(np.array([[u, 40 + i, 80 + h] for u, i, h, _ in rows], np.int32))
    fields = (Field("a", "context", 40), Field("b", "context", 40), Field("c", "context", 5))
    return Dataset("toy", Schema(fields), len(rows), context=table, label=label, split=data.split)


@pytest.mark.parametrize("users", [True, False])
@pytest.mark.parametrize("name", ["ctr", "rating"])
@pytest.mark.parametrize("share", [1.0, 0.1])
def test_copies_of_training_rows_are_refused_left_out_or_allowed(name, users, share) -> None:
    rng = np.random.default_rng(0)
    rows = list({(int(u), int(i), int(h), int(y)) for u, i, h, y in rng.integers(0, [40, 40, 5, 2], (600, 4))})[:500]
    split = [0] * 400 + [1] * 50 + [2] * 50
    assert len(build("protocol", {"name": name}, labeled(rows, split, users=users)).test.rows) == 50
    for n in range(int(50 * share)):
        rows[450 + n] = rows[n]
    data = labeled(rows, split, users=users)
    with pytest.raises(DataError, match=f"{int(50 * share)} of 100 judged rows .* are copies of rows of an earlier"):
        build("protocol", {"name": name}, data)
    assert len(build("protocol", {"name": name, "on_leak": "allow"}, data).test.rows) == 50
    if share < 1:
        kept = build("protocol", {"name": name, "on_leak": "drop"}, data)
        assert kept.test.rows.tolist() == list(range(455, 500))
        assert len(kept.training.rows) == 400


def test_events_that_repeat_within_training_as_often_are_no_copies() -> None:
    rng = np.random.default_rng(1)
    rows = [tuple(r) for r in rng.integers(0, [12, 6, 2, 2], (600, 4)).tolist()]
    data = labeled(rows, [0] * 400 + [1] * 100 + [2] * 100)
    assert not len(copies(data, data.split).rows)
    assert len(build("protocol", {"name": "ctr"}, data).test.rows) == 100
    doubled = labeled(rows[:400] + rows[:200], [0] * 400 + [1] * 100 + [2] * 100)
    with pytest.raises(DataError, match="are copies"):
        build("protocol", {"name": "ctr"}, doubled)


def test_an_event_at_another_time_is_another_event() -> None:
    rows, split = [(n % 5, n % 7, 0, n % 2) for n in range(35)] * 3, [0] * 35 + [1] * 35 + [2] * 35
    assert len(copies(labeled(rows, split), np.array(split)).rows) == 70
    assert not len(copies(labeled(rows, split, time=np.arange(105)), np.array(split)).rows)
