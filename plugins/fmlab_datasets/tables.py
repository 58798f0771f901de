"""Building blocks that data plugins share: vocabularies, side tables, counts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fmlab.data import SIDES, Array, Field, PreparationStep, Schema, Side, Table


class Column(NamedTuple):
    """One field of a side as codes: `codes[n, slots]` counts from 1 in the order of `keys`; 0 is unknown or empty."""

    name: str
    codes: Array
    keys: Sequence[str]


def identity(name: str, keys: Sequence[str]) -> Column:
    """The field that names the entity itself: entity `i` has code `i + 1`."""
    return Column(name, np.arange(1, len(keys) + 1, dtype=np.int32)[:, None], keys)


def category(name: str, values: Sequence[str], order: Iterable[str] | None = None) -> Column:
    """A field with one value an entity; keys are sorted, or in the `order` given. Values outside it are unknown."""
    keys = sorted(set(values)) if order is None else list(order)
    code = {key: number for number, key in enumerate(keys, 1)}
    return Column(name, np.array([[code.get(v, 0)] for v in values], np.int32), keys)


def several(name: str, values: Sequence[Sequence[str]], slots: int = 0) -> Column:
    """A multi-valued field; keys are sorted, slots as many as the longest list needs unless given."""
    keys = sorted({v for many in values for v in many})
    code = {key: number for number, key in enumerate(keys, 1)}
    codes = np.zeros((len(values), slots or max(1, *map(len, values))), np.int32)
    for row, many in enumerate(values):
        codes[row, : len(many)] = [code[v] for v in many[: codes.shape[1]]]
    return Column(name, codes, keys)


def assemble(sides: Mapping[Side, Sequence[Column]]) -> tuple[Schema, dict[Side, Table], dict[str, Array]]:
    """Schema, feature tables and keys of the given sides, in the order user, context, item."""
    listed = [(side, c) for side in SIDES for c in sides.get(side, ())]
    fields = tuple(Field(c.name, side, len(c.keys) + 1, c.codes.shape[1]) for side, c in listed)
    counts = {side: len(columns[0].codes) if columns else 0 for side, columns in sides.items()}
    schema = Schema(fields, n_users=counts.get("user", 0), n_items=counts.get("item", 0))
    tables: dict[Side, Table] = {}
    for side in sides:
        at = [n for n, (s, _) in enumerate(listed) if s == side]
        if at:
            tables[side] = Table(np.concatenate([listed[n][1].codes + np.int32(schema.offsets[n]) for n in at], axis=1))
    return schema, tables, {c.name: np.array(list(c.keys), np.dtypes.StringDType()) for _, c in listed}


def counted(
    name: str, schema: Schema, rows: int, users: int | None = None, items: int | None = None
) -> PreparationStep:
    """A step of preparation as the schema stands after it."""
    users = schema.n_users if users is None else users
    return PreparationStep(name, rows, users, schema.n_items if items is None else items, schema.n_features)
