"""Inputs that models declare besides ids and values, and the containers in which they get them.

A keyword-only parameter `row`, `time`, `history`, `sequences` or `vectors` of `forward`, or of a method that computes
one side, is passed by fmlab. One without a default is required: data that have none are refused. Where the data have
none, a parameter keeps its default. A model that declares none of them costs nothing extra.

| name        | what it is, for `ids[*batch, columns]`                                                           |
|-------------|--------------------------------------------------------------------------------------------------|
| `row`       | int64 `[*batch]`, number of the row in the data; -1 for rows that are not of the data            |
| `time`      | int64 `[*batch]`, microseconds since 1970                                                        |
| `history`   | `History`, the items that the user had before                                                    |
| `sequences` | `{field: Sequence}`, of the sides that `ids` covers                                              |
| `vectors`   | `{field: float[*batch, width]}`, of the sides that `ids` covers                                 |

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
    """Earlier items of a user, the oldest first; shorter histories are padded in front.

    `ids[*batch, L, item columns]`: features of the items, as in the item columns of a row; `values` alike, or None.
    `mask[*batch, L]`: false where there is padding, which has the unknown features. `time[*batch, L]`: int64
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


class ModelInputs:
    """The inputs of some queries or items, by name."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        """`values`: tensors, and containers of tensors, all with the same leading axes."""
        self.values = dict(values)

    def named(self, function: Callable[..., Any]) -> dict[str, Any]:
        """The values whose names `function` declares."""
        if not self.values:
            return {}
        return {name: self.values[name] for name in inputs_of(function) if name in self.values}

    def map(self, change: Callable[[Tensor], Tensor]) -> "ModelInputs":
        """The inputs with `change` applied to every tensor."""
        return (
            ModelInputs({name: _mapped(value, change) for name, value in self.values.items()}) if self.values else self
        )

    def cut(self, at: slice | Tensor) -> "ModelInputs":
        """The values at `at`, along the first axis."""
        return self.map(lambda tensor: tensor[at])

    def with_item_axis(self, axis: int = 1) -> "ModelInputs":
        """The inputs with an axis of length 1 for the items of a query."""
        return self.map(lambda tensor: tensor.unsqueeze(axis))

    def join(self, other: "ModelInputs") -> "ModelInputs":
        """The inputs of both; vectors and sequences are those of both sides."""
        if not other.values:
            return self
        both = dict(self.values)
        for name, value in other.values.items():
            both[name] = {**both[name], **value} if isinstance(value, Mapping) and name in both else value
        return ModelInputs(both)


NO_INPUTS = ModelInputs({})


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _mapped(part, change) for name, part in value.items()}
    return None if value is None else type(value)(*(_mapped(part, change) for part in value))


def inputs_of(function: Callable[..., Any]) -> Mapping[str, bool]:
    """The inputs that a function, a method or the `forward` of a model declares, and whether each is required."""
    if not inspect.isfunction(function) and not inspect.ismethod(function):
        function = getattr(function, "forward", function)
    return _declared(getattr(function, "__func__", function))


@lru_cache(maxsize=1024)
def _declared(function: Callable[..., Any]) -> Mapping[str, bool]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {p.name: p.default is p.empty for p in parameters if p.kind is p.KEYWORD_ONLY and p.name in NAMES}


def inputs_of_model(model: Any) -> Mapping[str, bool]:
    """The inputs that any method of a model declares, or one function, and whether a method requires each."""
    return inputs_of(model) if inspect.isfunction(model) or inspect.ismethod(model) else _inputs_of_class(type(model))  # type: ignore[arg-type]


@lru_cache(maxsize=256)
def _inputs_of_class(kind: type) -> Mapping[str, bool]:
    found: dict[str, bool] = {}
    for method in METHODS:
        function = getattr(kind, method, None)
        for name, needed in (_declared(function) if function is not None else {}).items():
            found[name] = found.get(name, False) or needed
    return found


def history_length(model: Any) -> int:
    """Number of history items that a model, or the model of a method, reads: its attribute `history_length`, or 50."""
    return int(getattr(getattr(model, "__self__", model), "history_length", LENGTH))
