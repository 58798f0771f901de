"""Which labels make positives, and users for whom nothing is left to draw."""

import numpy as np
import pytest
from toys import interactions, pairs_of

from fmlab.errors import DataError
from fmlab.plugin.registry import build

PAIRS = [(u, i) for u in range(8) for i in range(24) if (u + i) % 3]
N = len(PAIRS)
RANKED = {
    "full_ranking": {},
    "leave_one_out": {"n_candidates": 2},
    "temporal": {"task": "ranking", "cold_entities": "keep"},
    "cold_start": {"cold_users": 0.3},
    "rating": {},
}


def made(name: str, label, **options):
    data = interactions(PAIRS, label=np.asarray(label, np.float32), time=np.arange(N))
    return build("protocol", {"name": name, **RANKED[name], **options}, data)


def positives_of(name: str, task) -> set[tuple[int, int]]:
    data, label = task.dataset, task.dataset.label
    pairs = pairs_of(data, None if label is None else np.flatnonzero(np.asarray(label) > 0))
    users, items = ([int(k[1:]) for k in data.keys[side].tolist()] for side in ("user", "item"))
    return {(users[u], items[i]) for u, i in pairs}


@pytest.mark.parametrize("name", RANKED)
@pytest.mark.parametrize("labels", [(-1, 0, 1), (-10, -3, 0, 4, 10), (0, 1, 2, 5), (-1, 0.5, 2)])
def test_what_a_user_rated_0_or_less_is_no_positive_and_this_is_said(name, labels, caplog) -> None:
    label = np.random.default_rng(0).choice(labels, N)
    task = made(name, label)
    assert positives_of(name, task) == {p for p, y in zip(PAIRS, label, strict=True) if y > 0}
    assert "protocol.min_label=<number>" in caplog.text
    assert f"{(label > 0).sum()} of {N} rows" in caplog.text
    if name != "rating":
        least = max(labels)
        assert positives_of(name, made(name, label, min_label=least)) == {
            p for p, y in zip(PAIRS, label, strict=True) if y >= least
        }


@pytest.mark.parametrize("name", RANKED)
@pytest.mark.parametrize(("labels", "span"), [((0,), "all 0"), ((-1,), "all -1"), ((-5, -2, 0), "from -5 to 0")])
def test_labels_without_a_positive_are_refused(name, labels, span) -> None:
    with pytest.raises(DataError, match=f"a positive is a row with a label above 0.*'toy' are {span}"):
        made(name, [labels[n % len(labels)] for n in range(N)])


def test_stars_are_all_positives_which_is_said(caplog) -> None:
    caplog.set_level("INFO")
    assert made("full_ranking", np.arange(N) % 5 + 1).dataset.rows == N
    assert "labels are 1 to 5: every row is a positive" in caplog.text


def test_what_classes_are_read_as_is_said() -> None:
    split = (np.arange(N) % 4).clip(0, 2).astype(np.int8)
    classes = np.array([(u + 2 * i) % 5 > 2 for u, i in PAIRS])
    for name, low, step in [
        ("ctr", -1, "labels -1 and 1 are read as 0 and 1"),
        ("rating", 0, "labels 0 and 1 are read as -1 and 1"),
    ]:
        data = interactions(PAIRS, label=np.where(classes, 1, low).astype(np.float32), split=split)
        assert step in [s.name for s in build("protocol", {"name": name}, data).dataset.steps]


@pytest.mark.parametrize("name", RANKED)
def test_a_user_with_every_item_is_named_and_may_be_left_out(name) -> None:
    pairs = [*((0, i) for i in range(24)), *((u + 1, i) for u, i in PAIRS)]
    data = interactions(pairs, time=np.arange(len(pairs)))
    with pytest.raises(DataError, match=r"got 1 of 9 users .*; protocol.on_saturated=drop leaves .*; they are 'u0'"):
        build("protocol", {"name": name, **RANKED[name]}, data)
    task = build("protocol", {"name": name, **RANKED[name], "on_saturated": "drop"}, data)
    assert "u0" not in task.dataset.keys["user"].tolist()
    assert task.dataset.schema.n_users == 8
    assert any(s.name == "without 1 users who have every item (u0)" for s in task.dataset.steps)


def test_users_may_be_left_out_until_none_has_every_item() -> None:
    pairs = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]  # without user 0 nobody has item 2, then user 1 has all
    with pytest.raises(DataError, match="there is nothing to rank"):
        build("protocol", {"name": "rating", "on_saturated": "drop"}, interactions(pairs))
    with pytest.raises(DataError, match="there is nothing to rank"):  # leaving them out would leave none
        build("protocol", {"name": "rating"}, interactions([(0, 0), (0, 1), (1, 0), (1, 1)]))
