"""Random rows with every kind of field, and the plain double sum over their columns."""

from collections.abc import Callable

import torch
from torch import Tensor

from fmlab.data import Field, Schema

SCHEMA = Schema(
    (
        Field("user", "user", 9),
        Field("likes", "user", 6, slots=3),
        Field("age", "user", 2, numeric=True),
        Field("day", "context", 5),
        Field("item", "item", 8),
        Field("genre", "item", 4, slots=2),
    ),
    8,
    7,
)


def single(n: int, *, size: int = 4) -> Schema:
    """`n` fields of one slot, half of them on the item's side."""
    return Schema(tuple(Field(f"f{i}", "user" if 2 * i < n else "item", size) for i in range(n)), size - 1, size - 1)


def rows(schema: Schema = SCHEMA, n: int = 6, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Ids `[n, columns]` and values of either sign, float64, in every column. Two slots of a row may hold one id."""
    generator = torch.Generator().manual_seed(seed)
    columns = [
        schema.offsets[f] + torch.randint(schema.fields[f].size, (n,), generator=generator) for f in schema.column_field
    ]
    return torch.stack(columns, 1), torch.randn(n, schema.n_columns, generator=generator, dtype=torch.float64)


def double_sum(
    ids: Tensor,
    values: Tensor,
    weight: Callable[[int, int], Tensor],
    pair: Callable[[int, int, int, int], Tensor],
) -> Tensor:
    """`sum_c weight(id_c, c) x_c + sum_{c<d} pair(id_c, id_d, c, d) x_c x_d` of every row."""
    scores = []
    for row, x in zip(ids.tolist(), values, strict=True):
        score = sum(weight(i, c) * x[c] for c, i in enumerate(row))
        for c, i in enumerate(row):
            for d in range(c + 1, len(row)):
                score = score + pair(i, row[d], c, d) * x[c] * x[d]
        scores.append(score)
    return torch.stack(scores)


def two_sides(model: object, schema: Schema, ids: Tensor, values: Tensor | None) -> Tensor:
    """Scores from the parts of both sides."""
    query, item = schema.query, schema.item
    x, y = (None, None) if values is None else (values[:, query], values[:, item])
    (a, p), (b, q) = model.encode_query(ids[:, query], x), model.encode_item(ids[:, item], y)
    return model.link(a + b + (p * q).sum(-1))


def randomize(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The model in float64 with every parameter drawn from N(0, 1), and running statistics that are no 0 and 1."""
    torch.manual_seed(seed)
    model.double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model
