"""Which interactions count: the label threshold, repeated pairs, and the k-core filter."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fmlab.data.dataset import Dataset, PreparationStep, Ragged, Table
from fmlab.data.negative_sampling import NAMED, UserItemSet
from fmlab.data.schema import Array, Field, Schema, Side
from fmlab.data.split import sides
from fmlab.errors import DataError


@dataclass(frozen=True)
class Filter:
    """Which interactions count, in the order in which it is decided.

    `since`, `until`: times in microseconds since 1970, the first included and the last not. `repeated`: which of
    several interactions of a user with one item is kept. `user_counts`, `item_counts`: fewest and most interactions
    of a user and of an item that stay, counted once; `core`: fewest of both, until nothing more is lost.
    """

    min_label: float | None = None
    since: int | None = None
    until: int | None = None
    repeated: Literal["first", "last"] = "first"
    user_counts: tuple[int, int | None] = (0, None)
    item_counts: tuple[int, int | None] = (0, None)
    core: int = 0


def positives(dataset: Dataset, min_label: float | None, core: int) -> Dataset:
    """The positive interactions: label >= `min_label` (None: all), the first of repeated ones, then a `core`-core."""
    return filtered(dataset, Filter(min_label, core=core))


def filtered(dataset: Dataset, rule: Filter, *, labels: bool = False) -> Dataset:
    """The interactions that a filter leaves.

    The core filter drops users and items with fewer than `core` interactions until none is left. Users and items
    without interactions are dropped and the rest renumbered in order; so are features that no row uses any more,
    except the unknown one of each field. Keys and the planted truth follow. Each step that can lose rows leaves a
    `PreparationStep`. The result has no labels unless `labels`: all its rows are positives.

    A pair (user, item) counts once, the earliest: if it came again in another context, a test item could be one that
    its user is known to like from training, and remembering would do for a score. Raises DataError without users and
    items, without labels or times to compare, and when nothing is left.
    """
    steps = _steps(dataset, rule)
    result, counted = dataset, list(dataset.steps)
    for name, rows in steps or [("users and items with interactions", np.arange(dataset.rows))]:
        if not len(rows):
            raise DataError(f"{name!r} must leave some rows, it left none of {dataset.rows:,} of {dataset.name!r}")
        result = _select(dataset, rows)
        schema = result.schema
        counted.append(PreparationStep(name, result.rows, schema.n_users, schema.n_items, schema.n_features))
    result = replace(result, steps=tuple(counted))
    return result if labels else replace(result, label=None, targets={})


def _steps(dataset: Dataset, rule: Filter) -> list[tuple[str, Array]]:
    """The steps of a filter, each with the rows that it leaves."""
    user, item = sides(dataset)
    steps: list[tuple[str, Array]] = []
    keep = np.arange(dataset.rows)
    if rule.min_label is not None:
        if dataset.label is None:
            least = f"min_label={rule.min_label:g}"
            raise DataError(f"{least} needs labels; {dataset.name!r} has none: all rows are positives")
        keep = np.flatnonzero(np.asarray(dataset.label) >= rule.min_label)
        steps.append((f"label >= {rule.min_label:g}", keep))
    if rule.since is not None or rule.until is not None:
        if dataset.time is None:
            raise DataError(f"a window of time needs times; {dataset.name!r} has none")
        time = np.asarray(dataset.time)[keep]
        low, high = (np.iinfo(np.int64).min if rule.since is None else rule.since), rule.until
        keep = keep[(time >= low) & (time < (np.iinfo(np.int64).max if high is None else high))]
        steps.append(("in the window of time", keep))
    once = _once(dataset, keep, last=rule.repeated == "last")
    if len(once) < len(keep):
        keep = once
        steps.append((f"{rule.repeated} of repeated interactions", keep))
    for what, index, (low, most) in (("users", user, rule.user_counts), ("items", item, rule.item_counts)):
        if low > 1 or most is not None:
            count = np.bincount(index[keep])[index[keep]] if len(keep) else np.zeros(0)
            keep = keep[(count >= low) & (count <= (np.inf if most is None else most))]
            steps.append((f"{what} with {low}{'+' if most is None else f' to {most}'} interactions", keep))
    if rule.core > 1:
        keep = _core(user, item, keep, rule.core)
        steps.append((f"{rule.core}-core", keep))
    return steps


def without_saturated(dataset: Dataset, on_saturated: str) -> Dataset:
    """Without users who have interacted with every item, if `on_saturated` is "drop", and a step that names them.

    No negative can be drawn for such a user, and nothing can be recommended. Raises DataError otherwise, naming them,
    and if nothing is left. Items that nobody else has are dropped too, which may saturate others: until none is left.
    """
    while True:
        user, item = sides(dataset)
        observed = UserItemSet(user, item, dataset.schema.n_users, dataset.schema.n_items)
        full = (observed.degree == observed.n_items).numpy()
        if not full.any():
            return dataset
        names = dataset.keys["user"] if "user" in dataset.keys else np.arange(observed.n_users)
        rows = np.flatnonzero(~full[user])
        if not len(rows):
            raise DataError(f"every user of {dataset.name!r} has interacted with every item: there is nothing to rank")
        if on_saturated != "drop":
            observed.check(user, hint="; protocol.on_saturated=drop leaves these users out", names=names)
        called = ", ".join(map(str, names[np.flatnonzero(full)[:NAMED]]))
        name = (
            f"without {int(full.sum()):,} users who have every item ({called}{', ...' if full.sum() > NAMED else ''})"
        )
        dataset = _select(dataset, rows)
        schema = dataset.schema
        step = PreparationStep(name, dataset.rows, schema.n_users, schema.n_items, schema.n_features)
        dataset = replace(dataset, steps=(*dataset.steps, step))


def _once(dataset: Dataset, rows: Array, *, last: bool = False) -> Array:
    """Of the rows of each pair the earliest, or the last; equal times, and data without times, are in row order."""
    user, item = sides(dataset)
    key = user[rows].astype(np.int64) * dataset.schema.n_items + item[rows]
    order = np.arange(len(rows))
    if dataset.time is not None:
        order = np.argsort(np.asarray(dataset.time)[rows], kind="stable")
    order = order[::-1] if last else order
    return np.sort(rows[order[np.unique(key[order], return_index=True)[1]]])


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
    schema = Schema(fields, len(users), len(items), dataset.schema.auxiliary)
    kept: dict[Side, Array] = {"user": users, "item": items, "context": rows}
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
        targets={name: target[rows] for name, target in dataset.targets.items()},
        weight=_taken(dataset.weight, rows),
        group=_taken(dataset.group, rows),
        time=_taken(dataset.time, rows),
        split=_taken(dataset.split, rows),
        keys=_keys(dataset.keys, dataset.schema.fields, used, {"user": users, "item": items}),
        vectors={f.name: _vectors(dataset.vectors[f.name], kept[f.side]) for f in schema.vectors},
        sequences={f.name: _sequence(dataset, f, kept[f.side], used, renumber, schema) for f in schema.sequences},
    )


def _vectors(table: Array, kept: Array) -> Array:
    """Those that are left; a memory map stays one where all are."""
    return table if len(kept) == len(table) else table[kept]


def _sequence(dataset: Dataset, field: Field, kept: Array, used: list[Array], renumber: Array, now: Schema) -> Ragged:
    """The sequences that are left; ids of features that are not used any more become the unknown one."""
    left = dataset.sequences[field.name].take(kept)
    at = dataset.schema.owner(field)
    if at is None:
        return left
    there = used[at][left.ids - dataset.schema.offsets[at]]
    return Ragged(left.ends, np.where(there, renumber[left.ids], now.offsets[at]).astype(np.int32))


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
