"""What models ask for by name beside ids and values, and the containers in which they get it.

A keyword-only parameter `row`, `time`, `history`, `sequences` or `vectors` of `forward`, or of a method that computes
one side, is given by fmlab. One without a default is required: data that have none are refused. One with a default
keeps it there. Whoever names none of them pays nothing.

| name        | what it is, for ids `[*batch, columns]`                                                          |
|-------------|--------------------------------------------------------------------------------------------------|
| `row`       | int64 `[*batch]`, number of the row in the data; -1 for rows that are not of the data            |
| `time`      | int64 `[*batch]`, microseconds since 1970                                                        |
| `history`   | `History`, the items that the user had before                                                    |
| `sequences` | `{field: Sequence}`, of the sides that the ids are of                                            |
| `vectors`   | `{field: float[*batch, width]}`, of the sides that the ids are of                                |

Leading axes broadcast against those of the ids: where one query stands with several items, they have a 1 there.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

NAMES = ("row", "time", "history", "sequences", "vectors")
METHODS = ("forward", "encode_query", "encode_item", "query_state", "item_state", "user_points", "item_points")
LENGTH = 50  # items of a history, for models without an attribute `history_length`


class History(NamedTuple):
    """Items that a user had before, oldest first, the latest at the end; shorter histories are padded in front.

    `ids[*batch, L, item columns]`: features of the items, as in the item columns of a row; `values` alike, or None.
    `mask[*batch, L]`: false where there is padding, whose features are the unknown ones. `time[*batch, L]`: int64
    microseconds, None where they are not known. `vectors`: of the items, `{field: float[*batch, L, width]}`, for models
    that ask for vectors as well. L is at most the model's `history_length`, and at least 1.
    """

    ids: Tensor
    mask: Tensor
    values: Tensor | None = None
    time: Tensor | None = None
    vectors: Mapping[str, Tensor] = MappingProxyType({})


class Sequence(NamedTuple):
    """Ids in their order, `ids[*batch, L]`, padded in front with the unknown one; `mask[*batch, L]` is false there."""

    ids: Tensor
    mask: Tensor


class Given:
    """What is given of some queries or items, by name."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        """`values`: tensors, and containers of tensors, all with the same leading axes."""
        self.values = dict(values)

    def named(self, function: Callable[..., Any]) -> dict[str, Any]:
        """What a function asks for of it."""
        if not self.values:
            return {}
        return {name: self.values[name] for name in asked(function) if name in self.values}

    def each(self, change: Callable[[Tensor], Tensor]) -> "Given":
        """With every tensor changed."""
        return Given({name: _each(value, change) for name, value in self.values.items()}) if self.values else self

    def cut(self, at: slice | Tensor) -> "Given":
        """Of some queries or items."""
        return self.each(lambda tensor: tensor[at])

    def apart(self, axis: int = 1) -> "Given":
        """With an axis for the items of a query."""
        return self.each(lambda tensor: tensor.unsqueeze(axis))

    def join(self, other: "Given") -> "Given":
        """What both have: vectors and sequences of both sides."""
        if not other.values:
            return self
        both = dict(self.values)
        for name, value in other.values.items():
            both[name] = {**both[name], **value} if isinstance(value, Mapping) and name in both else value
        return Given(both)


NOTHING = Given({})


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _each(part, change) for name, part in value.items()}
    return None if value is None else type(value)(*(_each(part, change) for part in value))


def asked(function: Callable[..., Any]) -> Mapping[str, bool]:
    """The names that a function, a method or a model asks for, and whether it needs them."""
    if not inspect.isfunction(function) and not inspect.ismethod(function):
        function = getattr(function, "forward", function)
    return _asked(getattr(function, "__func__", function))


@lru_cache(maxsize=1024)
def _asked(function: Callable[..., Any]) -> Mapping[str, bool]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {p.name: p.default is p.empty for p in parameters if p.kind is p.KEYWORD_ONLY and p.name in NAMES}


def asks(asker: Any) -> Mapping[str, bool]:
    """The names that any method of a model asks for, or one function, and whether one needs them."""
    return asked(asker) if inspect.isfunction(asker) or inspect.ismethod(asker) else _asks(type(asker))  # type: ignore[arg-type]


@lru_cache(maxsize=256)
def _asks(kind: type) -> Mapping[str, bool]:
    found: dict[str, bool] = {}
    for method in METHODS:
        function = getattr(kind, method, None)
        for name, needed in (_asked(function) if function is not None else {}).items():
            found[name] = found.get(name, False) or needed
    return found


def history_length(model: Any) -> int:
    """How many items of a history a model (or that of a method) reads: its attribute `history_length`, or 50."""
    return int(getattr(getattr(model, "__self__", model), "history_length", LENGTH))
