"""Which interactions count, and which part each is in: pure functions of a data set; nothing is lost in silence.

A part is int8[rows]: 0 train, 1 validation, 2 test, as in `Dataset.split`.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fmlab.data import Array, Dataset, Field, Schema, Step, Table
from fmlab.errors import DataError
from fmlab.sampling import NAMED, Observed

TRAIN, VALIDATION, TEST = 0, 1, 2
PARTS = ("train", "validation", "test")


# --------------------------------------------------------------------------------------------- positives


def positives(dataset: Dataset, min_label: float | None, core: int) -> Dataset:
    """The positive interactions: label >= `min_label` (None: all), the first of repeated ones, then a `core`-core.

    The core filter drops users and items with fewer than `core` interactions until none is left. Users and items
    without interactions are dropped and the rest renumbered in order; so are features that no row uses any more,
    except the unknown one of each field. Keys and the planted truth follow. Each step that can lose rows leaves a
    `Step`. The result has no labels: all its rows are positives.

    A pair (user, item) counts once, the earliest: if it came again in another context, a test item could be one that
    its user is known to like from training, and remembering would do for a score. Raises DataError without users and
    items, without labels to compare, and when nothing is left.
    """
    user, item = sides(dataset)
    steps: list[tuple[str, Array]] = []
    keep = np.arange(dataset.rows)
    if min_label is not None:
        if dataset.label is None:
            raise DataError(f"min_label={min_label:g} needs labels; {dataset.name!r} has none: all rows are positives")
        keep = np.flatnonzero(np.asarray(dataset.label) >= min_label)
        steps.append((f"label >= {min_label:g}", keep))
    first = _earliest(dataset, keep)
    if len(first) < len(keep):
        keep = first
        steps.append(("first of repeated interactions", keep))
    if core > 1:
        keep = _core(user, item, keep, core)
        steps.append((f"{core}-core", keep))
    result, counted = dataset, list(dataset.steps)
    for name, rows in steps or [("users and items with interactions", keep)]:
        if not len(rows):
            raise DataError(f"{name!r} must leave some rows, it left none of {dataset.rows:,} of {dataset.name!r}")
        result = _select(dataset, rows)
        schema = result.schema
        counted.append(Step(name, result.rows, schema.n_users, schema.n_items, schema.n_features))
    return replace(result, label=None, steps=tuple(counted))


def without_saturated(dataset: Dataset, saturated: str) -> Dataset:
    """Without users who have interacted with every item, if `saturated` is "drop", and a step that names them.

    No negative can be drawn for such a user, and nothing can be recommended. Raises DataError otherwise, naming them,
    and if nothing is left. Items that nobody else has are dropped too, which may saturate others: until none is left.
    """
    while True:
        user, item = sides(dataset)
        observed = Observed(user, item, dataset.schema.n_users, dataset.schema.n_items)
        full = (observed.degree == observed.n_items).numpy()
        if not full.any():
            return dataset
        names = dataset.keys["user"] if "user" in dataset.keys else np.arange(observed.n_users)
        if saturated != "drop":
            observed.check(user, hint="; protocol.saturated=drop leaves these users out", names=names)
        rows = np.flatnonzero(~full[user])
        if not len(rows):
            raise DataError(f"every user of {dataset.name!r} has interacted with every item: there is nothing to rank")
        called = ", ".join(map(str, names[np.flatnonzero(full)[:NAMED]]))
        name = (
            f"without {int(full.sum()):,} users who have every item ({called}{', ...' if full.sum() > NAMED else ''})"
        )
        dataset = _select(dataset, rows)
        schema = dataset.schema
        step = Step(name, dataset.rows, schema.n_users, schema.n_items, schema.n_features)
        dataset = replace(dataset, steps=(*dataset.steps, step))


def sides(dataset: Dataset) -> tuple[Array, Array]:
    """User and item index of every row; raises DataError where rows are not interactions."""
    if dataset.user is None or dataset.item is None or dataset.items is None:
        raise DataError(f"items can be ranked only for users: {dataset.name!r} has no user or no item side")
    return np.asarray(dataset.user), np.asarray(dataset.item)


def _earliest(dataset: Dataset, rows: Array) -> Array:
    user, item = sides(dataset)
    key = user[rows].astype(np.int64) * dataset.schema.n_items + item[rows]
    if dataset.time is not None:
        order = np.argsort(np.asarray(dataset.time)[rows], kind="stable")
        return np.sort(rows[order[np.unique(key[order], return_index=True)[1]]])
    return np.sort(rows[np.unique(key, return_index=True)[1]])


def _core(user: Array, item: Array, rows: Array, core: int) -> Array:
    while True:
        u, i = user[rows], item[rows]
        keep = (np.bincount(u)[u] >= core) & (np.bincount(i)[i] >= core)
        if keep.all():
            return rows
        rows = rows[keep]
        if not len(rows):
            return rows


def _select(dataset: Dataset, rows: Array) -> Dataset:
    """The given rows with the users, items and features they use, renumbered."""
    user, item = sides(dataset)
    users, user = _dense(user[rows])
    items, item = _dense(item[rows])
    context = None if dataset.context is None else dataset.context.take(rows)
    tables = {
        "user": None if dataset.users is None else dataset.users.take(users),
        "context": context,
        "item": None if dataset.items is None else dataset.items.take(items),
    }
    used = _used(dataset.schema, tables)
    sizes = [int(u.sum()) for u in used]
    offsets = np.cumsum([0, *sizes])
    renumber = np.concatenate([first + np.cumsum(u) - 1 for first, u in zip(offsets, used, strict=False)])
    fields = tuple(replace(f, size=n) for f, n in zip(dataset.schema.fields, sizes, strict=True))
    schema = Schema(fields, len(users), len(items))
    moved = {s: None if t is None else Table(renumber[t.ids].astype(np.int32), t.values) for s, t in tables.items()}
    truth = dataset.truth
    if truth is not None:
        truth = replace(
            truth,
            user=truth.user[users],
            item=truth.item[items],
            user_bias=truth.user_bias[users],
            item_bias=truth.item_bias[items],
        )
    return replace(
        dataset,
        schema=schema,
        rows=len(rows),
        user=user,
        item=item,
        users=moved["user"],
        items=moved["item"],
        context=moved["context"],
        truth=truth,
        label=_taken(dataset.label, rows),
        time=_taken(dataset.time, rows),
        split=_taken(dataset.split, rows),
        keys=_keys(dataset.keys, dataset.schema.fields, used, {"user": users, "item": items}),
    )


def _dense(index: Array) -> tuple[Array, Array]:
    """The indices that occur, ascending, and every index as its place among them."""
    occurs = np.bincount(index) > 0
    return np.flatnonzero(occurs), (np.cumsum(occurs, dtype=np.int32) - np.int32(1))[index]


def _taken(array: Array | None, rows: Array) -> Array | None:
    return None if array is None else array[rows]


def _used(schema: Schema, tables: Mapping[str, Table | None]) -> list[Array]:
    """For each field, which of its features some row uses; the unknown one always is, numeric fields stay whole."""
    used = []
    for index, (field, offset) in enumerate(zip(schema.fields, schema.offsets, strict=True)):
        table = tables[field.side]
        mask = np.full(field.size, field.numeric or table is None)
        mask[0] = True
        if table is not None:
            first = schema.columns(field.side).start
            at = [c - first for c, f in enumerate(schema.column_field) if f == index]
            mask[table.ids[:, at] - offset] = True
        used.append(mask)
    return used


def _keys(
    keys: Mapping[str, Array], fields: tuple[Field, ...], used: list[Array], kept: Mapping[str, Array]
) -> dict[str, Array]:
    # A field named user or item is the id itself: its features and the entities are the same, in the same order.
    left = {**kept, **{f.name: np.flatnonzero(mask[1:]) for f, mask in zip(fields, used, strict=True) if not f.numeric}}
    return {name: values[left[name]] if name in left else values for name, values in keys.items()}


# ------------------------------------------------------------------------------------------------- parts


def sizes(rows: int, validation: int | float | None, test: int | float | None) -> tuple[int, int]:
    """Rows of validation and test: a number below 1 is a share, others are rows, None the 10,000 of LorentzFM.

    None takes at most a tenth of the rows, so that small sets keep something to train on. Raises DataError when a
    part would be empty.
    """
    got = [
        min(10_000, rows // 10) if wanted is None else int(rows * wanted + 0.5) if wanted < 1 else int(wanted)
        for wanted in (validation, test)
    ]
    require(rows - sum(got), *got)
    return got[0], got[1]


def require(train: int, validation: int, test: int, *, hint: str = "change the sizes of the split") -> None:
    """Raise DataError unless every part has rows."""
    if min(train, validation, test) < 1:
        raise DataError(
            f"every part needs at least one row, got train {train:,}, validation {validation:,}, test {test:,}; {hint}"
        )


def random_parts(rows: int, validation: int, test: int, seed: int) -> Array:
    """A uniformly random split with exactly the given sizes, the same for the same seed."""
    require(rows - validation - test, validation, test)
    chosen = np.random.default_rng(seed).choice(rows, validation + test, replace=False)
    part = np.zeros(rows, np.int8)
    part[chosen[:validation]] = VALIDATION
    part[chosen[validation:]] = TEST
    return part


def leave_one_out_parts(dataset: Dataset) -> Array:
    """Each user's last interaction is test, the last but one validation; ties in time are settled by row order.

    Without times the order of rows is taken for the order of time. Users with fewer than 3 interactions are trained
    on only. Raises DataError if no user has 3.
    """
    test = _last(dataset, np.arange(dataset.rows), 3)
    if not len(test):
        users = dataset.schema.n_users
        raise DataError(f"leave-one-out needs users with 3 or more interactions, got none of {users:,}")
    return tested_parts(dataset, test)


def tested_parts(dataset: Dataset, test: Array) -> Array:
    """The given rows are the test, and of their users the last of 2 or more other interactions is the validation."""
    user, _ = sides(dataset)
    part = np.zeros(dataset.rows, np.int8)
    part[test] = TEST
    tested = np.bincount(user[test], minlength=dataset.schema.n_users) > 0
    part[_last(dataset, np.flatnonzero((part == TRAIN) & tested[user]), 2)] = VALIDATION
    require(*np.bincount(part, minlength=3).tolist())
    return part


def _last(dataset: Dataset, rows: Array, least: int) -> Array:
    """Of the given rows, the last of each user that has `least` or more."""
    user = sides(dataset)[0][rows]
    order = np.lexsort((user,) if dataset.time is None else (np.asarray(dataset.time)[rows], user))  # stable
    count = np.bincount(user, minlength=dataset.schema.n_users)
    return rows[order[np.cumsum(count)[count >= least] - 1]]


def given_parts(dataset: Dataset) -> Array:
    """The split that the source comes with; raises DataError if there is none, or one of its parts is empty."""
    if dataset.split is None:
        raise DataError(f"{dataset.name!r} does not come split; choose split=random")
    part = np.asarray(dataset.split)
    if part.size and (part.min() < TRAIN or part.max() > TEST):
        raise DataError(f"parts are 0 train, 1 validation, 2 test; got {part.min()} to {part.max()}")
    count = np.bincount(part, minlength=3)
    require(*count.tolist(), hint="this is the split the data come with; protocol.split=random makes another")
    return part
