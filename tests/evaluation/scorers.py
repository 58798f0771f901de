"""Small random data and one score in the shapes that models offer it in."""

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.data import Dataset, Field, PlantedScores, Schema, Table


def data(seed: int = 0, *, users: int = 12, items: int = 17, rows: int = 90, context: bool = False) -> Dataset:
    """Distinct random interactions, an id and an attribute on each side, labels 0 and 1."""
    rng = np.random.default_rng(seed)
    pairs = rng.choice(users * items, rows, replace=False)
    fields = [Field("user", "user", users + 1), Field("age", "user", 4)]
    fields += [Field("hour", "context", 5)] if context else []
    fields += [Field("item", "item", items + 1), Field("tags", "item", 5, slots=2)]
    schema = Schema(tuple(fields), users, items)
    at = dict(zip((f.name for f in fields), schema.offsets, strict=True))

    def table(*columns: np.ndarray) -> Table:
        return Table(np.stack(columns, 1).astype(np.int32))

    return Dataset(
        "random",
        schema,
        rows,
        (pairs // items).astype(np.int32),
        (pairs % items).astype(np.int32),
        table(at["user"] + 1 + np.arange(users), at["age"] + rng.integers(0, 4, users)),
        table(at["item"] + 1 + np.arange(items), *(at["tags"] + rng.integers(0, 5, items) for _ in range(2))),
        table(at["hour"] + rng.integers(0, 5, rows)) if context else None,
        label=rng.integers(0, 2, rows).astype(np.float32),
        truth=PlantedScores(
            *(rng.integers(-2, 3, s).astype(np.float32) for s in ((users, 3), (items, 3), (users,), (items,)))
        ),
    )


class Whole(nn.Module):
    """A factorisation machine with small whole numbers, so that scores tie and every path gives the same bits."""

    def __init__(self, schema: Schema, seed: int = 0, levels: int = 2) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        self.split = schema.query.stop
        self.bias = torch.randint(-levels, levels + 1, (schema.n_features,), generator=g).float()
        self.vector = torch.randint(-levels, levels + 1, (schema.n_features, 3), generator=g).float()

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        (bias, p), (b, q) = self.part(ids[..., : self.split]), self.part(ids[..., self.split :])
        return bias + b + (p * q).sum(-1)

    def part(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        return self.bias[ids].sum(-1), self.vector[ids].sum(-2)


class Sides(Whole):
    """The same, with an increasing link, in two sides."""

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        return self.link(super().forward(ids))

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.part(ids)

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.part(ids)

    def link(self, z: Tensor) -> Tensor:
        return z / 64 + 1


class States(Whole):
    """The same, separable: the states of sides, and a combination of them."""

    def query_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        return self.part(ids)

    def item_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        return self.part(ids)

    def interact(self, user: tuple[Tensor, ...], item: tuple[Tensor, ...]) -> Tensor:
        return user[0] + item[0] + (user[1] * item[1]).sum(-1)


class Constant(nn.Module):
    """The same score for everything."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        return self.value.expand(ids.shape[:-1])


def slow_ranks(model: nn.Module, dataset: Dataset, rows: np.ndarray, candidates: Tensor | None = None) -> list[float]:
    """Expected ranks by a double loop over whole rows."""
    met = set(zip(dataset.user.tolist(), dataset.item.tolist(), strict=True))
    ranks = []
    for case, row in enumerate(rows):
        user, item = int(dataset.user[row]), int(dataset.item[row])
        query = [*dataset.users.ids[user], *(dataset.context.ids[row] if dataset.context is not None else ())]

        def score(i: int, query: list = query) -> float:
            return float(model(torch.tensor([*query, *dataset.items.ids[i]])))

        others = [i for i in range(dataset.schema.n_items) if (user, i) not in met]
        if candidates is not None:
            others = candidates[case].tolist()
        scores = [score(i) for i in others]
        above, equal = sum(s > score(item) for s in scores), sum(s == score(item) for s in scores)
        ranks.append(1 + above + equal / 2)
    return ranks
