"""Tiny data sets and batches of every shape that a plugin may meet."""

from dataclasses import replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch

from fmlab.data import SECOND, Array, Dataset, Field, Ragged, Schema, Side, Table
from fmlab.data.batch import Batch, Features, Tables, as_features

Kind = Literal["interactions", "context", "numeric", "rows"]
AskedKind = Literal["history", "sequences"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ASKED_KINDS: tuple[AskedKind, ...] = get_args(AskedKind)

USERS, ITEMS, ROWS = 7, 11, 24
_USER = (Field("user", "user", USERS + 1), Field("group", "user", 4))
_CONTEXT = (Field("weekday", "context", 8),)
_ITEM = (Field("item", "item", ITEMS + 1), Field("genre", "item", 6, slots=3))
_FIELDS: dict[Kind | AskedKind, tuple[Field, ...]] = {
    "interactions": (*_USER, *_ITEM),
    "context": (*_USER, *_CONTEXT, *_ITEM),
    "numeric": (
        *_USER,
        Field("age", "user", 2, numeric=True),
        *_CONTEXT,
        *_ITEM,
        Field("price", "item", 2, numeric=True),
    ),
    "rows": (
        Field("site", "context", 9),
        Field("words", "context", 7, slots=2),
        Field("size", "context", 2, numeric=True),
    ),
    "history": (*_USER, *_ITEM),
    "sequences": (*_USER, *_CONTEXT, *_ITEM),
}
_VECTORS = (Field("content", "item", 0, width=3), Field("portrait", "user", 0, width=2))
_SEQUENCES = (
    Field("clicked", "context", 0, sequence=True, vocabulary="item"),
    Field("words", "item", 5, sequence=True),
)
_AUXILIARY: dict[Kind | AskedKind, tuple[Field, ...]] = {"history": _VECTORS, "sequences": (*_VECTORS, *_SEQUENCES)}


def tiny(kind: Kind | AskedKind, *, seed: int = 0) -> Dataset:
    """A small random data set with labels 0 and 1.

    "interactions": users with a group, items with a field of three slots. "context": and a weekday for each row.
    "numeric": and a numeric field on both sides. "rows": no users and items, all columns are context.

    For models that ask for more than features: "history": times, and vectors of users and items. "sequences": and ids
    in their order, one of items before each row.
    """
    rng = np.random.default_rng(seed)
    sides, auxiliary = kind != "rows", _AUXILIARY.get(kind, ())
    schema = Schema(_FIELDS[kind], USERS if sides else 0, ITEMS if sides else 0, auxiliary)
    counts = {"user": USERS, "item": ITEMS, "context": ROWS}
    return Dataset(
        name=f"tiny-{kind}",
        schema=schema,
        rows=ROWS,
        user=rng.integers(0, USERS, ROWS).astype(np.int32) if sides else None,
        item=rng.integers(0, ITEMS, ROWS).astype(np.int32) if sides else None,
        users=_table(rng, schema, "user", USERS),
        items=_table(rng, schema, "item", ITEMS),
        context=_table(rng, schema, "context", ROWS),
        label=np.arange(ROWS).astype(np.float32) % 2,
        time=rng.integers(0, ROWS, ROWS) * SECOND if auxiliary else None,
        vectors={f.name: rng.normal(size=(counts[f.side], f.width)).astype(np.float32) for f in schema.vectors},
        sequences={f.name: _lists(rng, schema.ids_of(f), counts[f.side]) for f in schema.sequences},
    )


def _lists(rng: np.random.Generator, ids: range, count: int) -> Ragged:
    return Ragged.of([rng.integers(ids.start, ids.stop, n) for n in rng.integers(0, 6, count)])


def _table(rng: np.random.Generator, schema: Schema, side: Side, rows: int) -> Table | None:
    columns = range(*schema.columns(side).indices(schema.n_columns))
    if not columns:
        return None
    ids, values = np.empty((rows, len(columns)), np.int32), np.ones((rows, len(columns)), np.float32)
    for at, number in enumerate(schema.column_field[c] for c in columns):
        field, offset = schema.fields[number], schema.offsets[number]
        ids[:, at] = offset + rng.integers(0, field.size, rows)
        if field.name == side:  # the first field names the entity: entity n has feature n + 1
            ids[:, at] = offset + 1 + np.arange(rows)
        if field.numeric:
            ids[:, at], values[:, at] = offset + 1, rng.normal(size=rows)
    return Table(ids, values if any(f.numeric and f.side == side for f in schema.fields) else None)


def labeled(dataset: Dataset, rows: Array | None = None) -> Batch:
    """A batch of rows with their labels; all rows unless given."""
    at = np.arange(dataset.rows) if rows is None else rows
    assert dataset.label is not None
    user, item = (None if c is None else torch.tensor(c[at]).long() for c in (dataset.user, dataset.item))
    label, numbers = torch.tensor(dataset.label[at]), torch.from_numpy(np.asarray(at, np.int64))
    return Batch(Tables.of(dataset, at), user, item, _context(dataset, at), label, row=numbers)


def candidates(dataset: Dataset, *, negatives: int = 3, rows: Array | None = None, seed: int = 0) -> Batch:
    """A batch of positives, each with sampled items: any but its own."""
    assert dataset.user is not None
    assert dataset.item is not None
    at = np.arange(dataset.rows) if rows is None else rows
    positive, n = dataset.item[at].astype(np.int64), dataset.schema.n_items
    others = np.random.default_rng(seed).integers(1, n, (len(at), negatives))
    item = np.concatenate([positive[:, None], (positive[:, None] + others) % n], 1)
    label = torch.zeros(item.shape)
    label[:, 0] = 1
    user = torch.tensor(dataset.user[at]).long()
    numbers = torch.from_numpy(np.asarray(at, np.int64))
    return Batch(Tables.of(dataset, at), user, torch.tensor(item), _context(dataset, at), label, row=numbers)


def _context(dataset: Dataset, rows: Array) -> Features | None:
    return None if dataset.context is None else as_features(dataset.context.take(rows))


class Planted(NamedTuple):
    """A task with a known answer: a training batch, and held-out pairs with the items their user does not like."""

    dataset: Dataset
    train: Batch
    user: Array
    item: Array
    disliked: Array


def checkerboard(*, users: int = 16, items: int = 24, negatives: int = 4) -> Planted:
    """Even users like even items, odd users odd ones, and everybody every third: popularity helps, taste decides.

    A fifth of the liked pairs is held out. Ids are the only features.
    """
    u, i = np.meshgrid(np.arange(users), np.arange(items), indexing="ij")
    likes = ((u + i) % 2 == 0) | (i % 3 == 0)
    user, item = (a.astype(np.int32) for a in np.nonzero(likes))
    schema = Schema((Field("user", "user", users + 1), Field("item", "item", items + 1)), users, items)
    ids = [np.arange(1, n + 1, dtype=np.int32)[:, None] for n in (users, items)]
    dataset = Dataset(
        "checkerboard",
        schema,
        len(user),
        user,
        item,
        Table(ids[0]),
        Table(ids[1] + np.int32(users + 1)),
    )
    rng = np.random.default_rng(0)
    held = rng.random(len(user)) < 0.2
    disliked = np.stack([rng.choice(np.flatnonzero(~row), 8 * negatives) for row in likes])
    rows = np.flatnonzero(~held)
    batch = candidates(dataset, negatives=negatives, rows=rows)
    assert batch.item is not None
    drawn = disliked[user[rows][:, None], rng.integers(0, disliked.shape[1], (len(rows), negatives))]
    full = torch.cat([batch.item[:, :1], torch.tensor(drawn)], 1)
    return Planted(dataset, replace(batch, item=full), user[held], item[held], disliked)
