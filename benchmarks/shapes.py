"""Synthetic data of the shapes that the papers' data have; the figures of a run depend on shapes, not on content.

Ids follow Zipf's law (exponent 1) within every field; which ids are frequent is scattered over the vocabulary.
"""

from dataclasses import dataclass

import numpy as np

from fmlab.data import Array, Dataset, Field, Schema, Side, Table


@dataclass(frozen=True)
class Shape:
    """Labeled rows: how many, the vocabulary of each field, and whether the first and the last are user and item."""

    name: str
    rows: int
    vocabularies: tuple[int, ...]
    interactions: bool = False
    batch_size: int = 4096

    def __str__(self) -> str:
        """`A: 288,609 x 10, 5,382 features`."""
        size = f"{self.rows:,} rows x {len(self.vocabularies)}, {sum(self.vocabularies):,} features"
        return f"{self.name}: {size}, batch {self.batch_size:,}"


FRAPPE = Shape("A", 288_609, (957, 7, 7, 2, 3, 2, 9, 80, 233, 4082), interactions=True)

# Four columns of identifiers and nineteen of categories, 1,544,257 features together.
SMALL = (2, 3, 5, 7, 7, 10, 24, 26, 60, 69, 172, 254, 435, 559, 2001, 2626, 4737, 7745, 8251)
WIDE = Shape("C", 100 * 4096, (*SMALL, 379_316, 379_316, 379_316, 379_316))

TOY = Shape("toy", 600, (20, 5, 30), True, 128)


def zipf(rng: np.random.Generator, n: int, size: int) -> Array:
    """`size` draws from 0 .. n - 1 (int64) with probability about 1 / rank."""
    rank = (n + 1.0) ** rng.random(size)
    return rng.permutation(n)[np.minimum(rank.astype(np.int64) - 1, n - 1)]


def labeled(shape: Shape, seed: int = 0) -> Dataset:
    """Labeled rows, stored as `data=frappe` stores them if they are interactions, else as all context.

    A third of the labels are 1.
    """
    rng = np.random.default_rng(seed)
    codes = [zipf(rng, n, shape.rows) for n in shape.vocabularies]
    label = (rng.random(shape.rows) < 1 / 3).astype(np.float32)
    sides: list[Side] = ["context"] * len(codes)
    if shape.interactions:
        sides[0], sides[-1] = "user", "item"
    vocabularies = enumerate(zip(sides, shape.vocabularies, strict=True))
    fields = tuple(Field(f"field{i}", side, n + 1) for i, (side, n) in vocabularies)
    if not shape.interactions:
        schema = Schema(fields)
        return Dataset(shape.name, schema, shape.rows, context=Table(_global(schema, "context", codes)), label=label)
    n_users, n_items = shape.vocabularies[0], shape.vocabularies[-1]
    schema = Schema(fields, n_users, n_items)
    return Dataset(
        shape.name,
        schema,
        shape.rows,
        user=codes[0].astype(np.int32),
        item=codes[-1].astype(np.int32),
        users=Table(_global(schema, "user", [np.arange(n_users)])),
        items=Table(_global(schema, "item", [np.arange(n_items)])),
        context=Table(_global(schema, "context", codes[1:-1])),
        label=label,
    )


def whole_rows(data: Dataset) -> Array:
    """Feature ids `[rows, columns]` written out, as a plain loop takes them."""
    return data.row_ids(np.arange(data.rows)).ids


@dataclass(frozen=True)
class InteractionCounts:
    """Users, items and positives of a recommendation data set with MovieLens-1M's twelve columns."""

    users: int = 6040
    items: int = 3706
    positives: int = 559_719

    def __str__(self) -> str:
        """`6,040 users, 3,706 items, 12 columns`."""
        return f"{self.users:,} users, {self.items:,} items, 12 columns"


MOVIELENS = InteractionCounts()
TOY_COUNTS = InteractionCounts(40, 60, 400)


def interactions(size: InteractionCounts, seed: int = 0) -> Dataset:
    """Positives `(user, item)`, popular items by Zipf's law, each pair once, at random times."""
    rng = np.random.default_rng(seed)
    sides: dict[Side, tuple[tuple[str, int, int], ...]] = {
        "user": (("user", size.users, 1), ("gender", 2, 1), ("age", 7, 1), ("occupation", 21, 1), ("zip", 470, 1)),
        "item": (("item", size.items, 1), ("genres", 18, 6)),
    }
    fields = tuple(Field(name, side, n + 1, slots) for side, many in sides.items() for name, n, slots in many)
    schema = Schema(fields, n_users=size.users, n_items=size.items)
    tables = {}
    for side, many in sides.items():
        entities = size.users if side == "user" else size.items
        columns: list[Array] = [np.arange(entities)]
        for _, n, slots in many[1:]:
            columns += [rng.integers(0, n, entities) for _ in range(slots)]
        tables[side] = Table(_global(schema, side, columns))
    user, item = _pairs(rng, size)
    return Dataset(
        "interactions",
        schema,
        len(user),
        user=user,
        item=item,
        users=tables["user"],
        items=tables["item"],
        time=rng.permutation(len(user)).astype(np.int64),
        keys={"user": _names(size.users), "item": _names(size.items)},
    )


def _pairs(rng: np.random.Generator, size: InteractionCounts) -> tuple[Array, Array]:
    """Distinct pairs in random order; every user has several, none has met most of the items."""
    several = min(12, size.items // 4)
    user = np.concatenate([np.repeat(np.arange(size.users), several), _skewed(rng, size.users, 4 * size.positives)])
    pair, first = np.unique(user * size.items + _skewed(rng, size.items, len(user)), return_index=True)
    kept = rng.permutation(pair[np.argsort(first)][: size.positives])
    return (kept // size.items).astype(np.int32), (kept % size.items).astype(np.int32)


def _skewed(rng: np.random.Generator, n: int, size: int) -> Array:
    """`size` draws from 0 .. n - 1 with log-normal weights: as uneven as people's activity, milder than Zipf's law."""
    weight = np.exp(rng.normal(size=n))
    return rng.choice(n, size, p=weight / weight.sum())


def _global(schema: Schema, side: Side, columns: list[Array]) -> Array:
    """Global ids `[n, columns]` of one side from codes that count from 0; feature 0 of a field is its unknown one."""
    start = [schema.offsets[f] + 1 for f in schema.column_field[schema.columns(side)]]
    return np.stack([c + s for c, s in zip(columns, start, strict=True)], axis=1).astype(np.int32)


def _names(n: int) -> Array:
    return np.array([str(i) for i in range(n)], np.dtypes.StringDType())
