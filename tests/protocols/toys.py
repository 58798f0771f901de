"""Small data sets whose every raw value can be read back."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fmlab.data import Dataset, Field, Schema, Table


def interactions(pairs: Sequence[tuple[int, int]], *, context: Sequence[int] | None = None, **more: Any) -> Dataset:
    """Users with an id and a group, items with an id and two tag slots, contexts with one field of five values."""
    user, item = np.array(pairs, np.int32).reshape(-1, 2).T
    n_users, n_items = int(user.max()) + 1, int(item.max()) + 1
    fields = [Field("user", "user", n_users + 1), Field("group", "user", 4), Field("item", "item", n_items + 1)]
    fields.append(Field("tags", "item", 6, slots=2))
    if context is not None:
        fields.insert(2, Field("hour", "context", 6))
    schema = Schema(tuple(fields), n_users, n_items)
    at = dict(zip((f.name for f in fields), schema.offsets, strict=True))
    u, i = np.arange(n_users), np.arange(n_items)
    users = np.stack([at["user"] + 1 + u, at["group"] + 1 + u % 3], 1)
    items = np.stack([at["item"] + 1 + i, at["tags"] + 1 + i % 5, at["tags"] + i % 2 * (1 + i % 3)], 1)
    hours = None if context is None else Table((at["hour"] + 1 + np.array(context)[:, None]).astype(np.int32))
    keys = {"user": [f"u{n}" for n in u], "group": list("abc"), "item": [f"i{n}" for n in i], "tags": list("vwxyz")}
    keys |= {} if context is None else {"hour": list("01234")}
    return Dataset(
        "toy",
        schema,
        len(user),
        user,
        item,
        Table(users.astype(np.int32)),
        Table(items.astype(np.int32)),
        hours,
        keys={k: np.array(v) for k, v in keys.items()},
        **more,
    )


def raw(dataset: Dataset, rows: np.ndarray | None = None) -> list[tuple[str, ...]]:
    """Every row as the raw values of its columns; the unknown feature of a field is `?`."""
    schema = dataset.schema
    ids = dataset.row_ids(np.arange(dataset.rows) if rows is None else rows).ids
    fields = [schema.fields[f] for f in schema.column_field]
    local = ids - np.array([schema.offsets[f] for f in schema.column_field])
    for field, column in zip(fields, local.T, strict=True):
        assert column.min() >= 0
        assert column.max() < field.size
    return [
        tuple("?" if n == 0 else str(dataset.keys[f.name][n - 1]) for f, n in zip(fields, row, strict=True))
        for row in local
    ]


def pairs_of(dataset: Dataset, rows: np.ndarray | None = None) -> list[tuple[int, int]]:
    """(user, item) of rows."""
    at = slice(None) if rows is None else rows
    return list(zip(dataset.user[at].tolist(), dataset.item[at].tolist(), strict=True))
