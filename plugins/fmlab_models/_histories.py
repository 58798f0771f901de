"""What models that read the training positives once share: entities by number, and who met what."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from fmlab.data import Schema
from fmlab.errors import FmlabError
from fmlab.nn.features import id_field

_BLOCK = 256  # items whose columns are dense at once


class Entities(NamedTuple):
    """Where the numbers of users and items stand in a row. Number 0 is the unknown one, entity n has n + 1."""

    users: int
    items: int
    first_user: int
    first_item: int
    item_column: int

    def of_user(self, ids: Tensor) -> Tensor:
        """Query columns -> numbers of users."""
        return ids[..., 0].long() - self.first_user

    def of_item(self, ids: Tensor) -> Tensor:
        """Item columns -> numbers of items."""
        return ids[..., 0].long() - self.first_item

    def of_row(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Whole rows -> numbers of users and of items."""
        return self.of_user(ids), ids[..., self.item_column].long() - self.first_item


def entities(schema: Schema, model: str, *, largest: int | None = None) -> Entities:
    """Raises FmlabError unless the first field of both sides has one feature for each entity and one unknown."""
    first = []
    for side, n in (("user", schema.n_users), ("item", schema.n_items)):
        number = id_field(schema, "user" if side == "user" else "item", model)
        field = schema.fields[number]
        if field.size != n + 1:
            raise FmlabError(
                f"{model} needs a first {side} field with one feature for each of the {n} {side}s and one unknown, "
                f"got {field.name!r} with {field.size}"
            )
        first.append(schema.offsets[number])
    if largest is not None and schema.n_items > largest:
        raise FmlabError(
            f"{model} compares every two items and takes at most {largest:,}, got {schema.n_items:,}; "
            "models that do not: ials, mf"
        )
    return Entities(schema.n_users, schema.n_items, first[0], first[1], schema.item.start)


def distinct(user: Tensor, item: Tensor, items: int) -> tuple[Tensor, Tensor]:
    """Each pair once, by user and then by item."""
    pairs = torch.unique(user.long() * items + item.long())
    return pairs // items, pairs % items


def item_counts(user: Tensor, item: Tensor, items: int) -> Tensor:
    """How many users have met each item, `int64[items]`."""
    return torch.bincount(distinct(user, item, items)[1], minlength=items)


def user_counts(user: Tensor, item: Tensor, users: int, items: int) -> Tensor:
    """How many items each user has met, `int64[users]`."""
    return torch.bincount(distinct(user, item, items)[0], minlength=users)


def pack(user: Tensor, item: Tensor, users: int, items: int) -> Tensor:
    """A bit for every user and item, `uint8[users + 1, ceil(items / 8)]`; row 0, the unknown user, is empty."""
    user, item = distinct(user, item, items)
    width = bits_width(items)
    flat = torch.zeros((users + 1) * width, dtype=torch.int32)
    flat.index_add_(0, (user + 1) * width + item // 8, torch.bitwise_left_shift(1, item % 8).int())
    return flat.to(torch.uint8).view(users + 1, width)


def bits_width(items: int) -> int:
    """Bytes of a packed row."""
    return -(-items // 8)


def unpack(rows: Tensor, items: int, dtype: torch.dtype) -> Tensor:
    """Packed rows `[*, width]` -> 0 and 1, `[*, items]`."""
    if torch.compiler.is_exporting():
        return bits_of_bytes(rows.device)[rows.long()].flatten(-2)[..., :items].to(dtype)
    shifts = torch.arange(8, dtype=torch.uint8, device=rows.device)
    bits = torch.bitwise_right_shift(rows.unsqueeze(-1), shifts) & 1
    return bits.flatten(-2)[..., :items].to(dtype)


def bits_of_bytes(device: torch.device) -> Tensor:
    """`[256, 8]`, the lowest bit first: for exported programs, whose runtimes shift no bytes."""
    return torch.tensor([[byte >> bit & 1 for bit in range(8)] for byte in range(256)], device=device)


def cooccurrences(user: Tensor, item: Tensor, users: int, items: int, out: Tensor | None = None) -> Tensor:
    """In how many users' histories every two items stand together, `float32[items, items]`, exact below 2^24.

    `out` is overwritten and given back, where there is one.
    """
    counts = torch.empty(items, items) if out is None else out
    for columns, block in cooccurrence_blocks(user, item, users, items):
        counts[:, columns] = block
    return counts


def cooccurrence_blocks(
    user: Tensor, item: Tensor, users: int, items: int, weight: Tensor | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """The same, some items with all of them at a time: which they are, and `float32[items, n]`.

    With `weight[users]` the weights of these users are added up, in place of their number.
    """
    user, item = distinct(user, item, items)
    order = torch.argsort(item, stable=True)
    user, item = user[order], item[order]
    stop = torch.bincount(item, minlength=items).cumsum(0)
    index, ones = torch.stack([item, user]), torch.ones(len(item))
    by_item = torch.sparse_coo_tensor(index, ones, (items, users), is_coalesced=True, check_invariants=False)
    for low in range(0, items, _BLOCK):
        high = min(low + _BLOCK, items)
        block = torch.zeros(users, high - low)
        held = slice(int(stop[low - 1]) if low else 0, int(stop[high - 1]))
        block[user[held], item[held] - low] = 1.0 if weight is None else weight[user[held]]
        yield slice(low, high), by_item @ block
