"""Groups that target statistics choose: siblings tell each other's labels, unless the split keeps them together."""

import logging

import numpy as np
import pytest

from fmlab.data import Array, Dataset, Field, Schema, Table
from fmlab.data.derived_fields import combined
from fmlab.data.derived_groups import Sample, choose_groups

EVENTS, USERS, ITEMS, HOURS, PLACES = 3000, 60, 40, 24, 20


def impressions(seed: int = 0) -> Dataset:
    """Each event is a user, an hour and a place with three random items, of which exactly one is clicked."""
    rng = np.random.default_rng(seed)
    fields = (("user", USERS), ("hour", HOURS), ("place", PLACES), ("noise", 3), ("item", ITEMS))
    side = {"user": "user", "item": "item"}
    schema = Schema(tuple(Field(n, side.get(n, "context"), size + 1) for n, size in fields), USERS, ITEMS)
    event = np.repeat(np.arange(EVENTS), 3)
    user, hour, place = (rng.integers(0, n, EVENTS).astype(np.int32)[event] for n in (USERS, HOURS, PLACES))
    item = rng.integers(0, ITEMS, len(event)).astype(np.int32)
    noise = rng.integers(0, 3, len(event)).astype(np.int32)
    label = np.tile([1.0, 0.0, 0.0], EVENTS).astype(np.float32)
    at = schema.offsets
    context = np.column_stack([hour + 1 + at[1], place + 1 + at[2], noise + 1 + at[3]]).astype(np.int32)
    users, items = (np.arange(1, n + 1, dtype=np.int32)[:, None] for n in (USERS, ITEMS))
    return Dataset(
        "impressions",
        schema,
        len(event),
        user,
        item,
        Table(users),
        Table(items + np.int32(at[4])),
        Table(context),
        label,
    )


def test_siblings_are_found_and_what_they_do_not_share_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    data = impressions()
    rows = np.random.default_rng(1).permutation(data.rows)
    with caplog.at_level(logging.WARNING, "fmlab"):
        chosen = choose_groups(Sample.of(data, np.sort(rows[:7000]), np.sort(rows[7000:])))
        chosen.warn()
    assert chosen.groups[3][-1] == ("user", "hour", "place")
    assert "have siblings in training, rows with the same user*hour*place" in caplog.text


def test_groups_of_more_combinations_than_whole_numbers_tell_rows_apart_alike() -> None:
    """With fields so large that combinations cannot be numbered, rows are grouped as they are by small numbers."""
    data = impressions()
    names = [f.name for f in data.schema.fields]
    large = Schema(tuple(Field(f.name, f.side, 1 << 28) for f in data.schema.fields), USERS, ITEMS)
    rows = data.row_ids(np.arange(data.rows))
    shift = np.array(large.offsets[: len(names)]) - np.array(data.schema.offsets[: len(names)])
    moved = Table((rows.ids + shift).astype(np.int32))
    found = combined(large, moved, names)
    assert found.dtype == np.int64
    _, expected = np.unique(combined(data.schema, rows, names), return_inverse=True)
    _, place = np.unique(found, return_inverse=True)
    assert len({*zip(expected.tolist(), place.tolist(), strict=True)}) == expected.max() + 1 == place.max() + 1


def groups(data: Dataset, training: Array, others: Array) -> set[tuple[str, ...]]:
    return {group for found in choose_groups(Sample.of(data, training, others)).groups.values() for group in found}


def test_siblings_that_the_split_keeps_together_are_no_group() -> None:
    data = impressions()
    found = groups(data, np.arange(7200), np.arange(7200, 9000))
    assert ("user", "hour", "place") not in found


def test_labels_without_order_make_no_group_of_siblings() -> None:
    data = impressions()
    data.label[:] = np.random.default_rng(2).permutation(data.label)
    rows = np.random.default_rng(1).permutation(data.rows)
    assert all(len(group) < 3 for group in groups(data, np.sort(rows[:7000]), np.sort(rows[7000:])))
