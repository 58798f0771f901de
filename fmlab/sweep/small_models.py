"""Small models in the search over all models: which tables they take, and points that are made small enough.

Numbers are counted by arithmetic, before a model is built. A point that is too large gets the next smaller options, the
one that was reduced least first, and where these do not suffice tables that store less: at equal size narrower vectors
are better than tables that share rows.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from fmlab.config.overrides import override
from fmlab.contracts import Task
from fmlab.data.schema import Schema
from fmlab.errors import FmlabError
from fmlab.nn.compressed import layouts
from fmlab.plugin import registry
from fmlab.run.derived_task import OPTIONS, schema_of
from fmlab.run.loading import FULL
from fmlab.run.model_size import n_parameters

_STEP = 0.8  # of a number, that the next smaller one is at most


class Sizes:
    """Parameters of points, of which those of a run of the search are told by a config and by what was typed."""

    def __init__(self, config: Mapping[str, Any], task: Task, typed: Mapping[str, Any]) -> None:
        """`typed`: values by key that hold for every point."""
        self.config, self.task = config, task
        self.typed = {k: v for k, v in typed.items() if k != "model"}

    def of(self, point: Mapping[str, Any]) -> int | None:
        """Parameters of the model of a point; None where it does not count them, or is not possible."""
        point = {**point, **self.typed}
        model = str(point["model"])
        options = {k.removeprefix("model."): v for k, v in point.items() if k.startswith("model.")}
        table = {k.removeprefix("table."): v for k, v in point.items() if k.startswith("table.")}
        wanted = {"name": point["table"], **table} if "table" in point else self.config.get("table")
        try:
            return n_parameters({"name": model, **options}, self.schema(point), wanted)
        except FmlabError:
            return None

    def schema(self, point: Mapping[str, Any]) -> Schema:
        """The fields of a row as the model of a point gets them."""
        own = registry.schema("model", str(point["model"])).defaults
        usual = {k: own[k] for k in ("target_statistics_as",) if k in own}
        given = {k: point[k] for k in OPTIONS if k in point}
        return schema_of({**self.config, **usual, **given}, self.task)


def takes_table(model: str, schema: Schema, table: str) -> bool:
    """Whether a model can be stored so; its shell is built, which holds no numbers."""
    if table == FULL:
        return True
    try:
        with torch.device("meta"):
            shell = registry.build("model", {"name": model}, schema, gives=nn.Module)
        layouts(shell, schema, partial(registry.build, "table", {"name": table}), table, model)
    except FmlabError:
        return False
    return True


def table_cases(models: Sequence[str], schema: Schema, tables: Sequence[str]) -> list[dict[str, Any]]:
    """`table` of a search: for each model the tables that it takes, none for models of whole ones alone."""
    taken: dict[tuple[str, ...], list[str]] = {}
    for model in models:
        taken.setdefault(tuple(t for t in tables if takes_table(model, schema, t)), []).append(model)
    return [{"choice": list(kinds), "when": {"model": of}} for kinds, of in taken.items() if set(kinds) != {FULL}]


def bounded(
    model: str, domains: Mapping[str, Any], sizes: Sizes, most: int, tables: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], int | None]:
    """The `domains` of the options of a model without the values that do not fit beside the smallest others.

    `tables`: overrides that store less. The second result is the size of the smallest model, where it is larger than
    `most`: the model takes no part then.
    """
    defaults = {o.name: o.default for o in registry.schema("model", model).options}
    point = {"model": model, **{f"model.{name}": defaults[name] for name in domains}}
    reached = [_reduced({**point, **t}, domains, sizes, 0) for t in ({}, *tables)]
    counted = [(size, number) for number, (_, size) in enumerate(reached) if size is not None]
    if not counted:
        return dict(domains), None
    size, number = min(counted)
    least = reached[number][0]
    if size > most:
        return dict(domains), size

    def fits(name: str, value: Any) -> bool:
        found = sizes.of({**least, f"model.{name}": value})
        return found is None or found <= most

    kept: dict[str, Any] = {}
    for name, domain in domains.items():
        kept[name] = dict(domain)
        if "choice" in domain:
            kept[name]["choice"] = [v for v in domain["choice"] if fits(name, v)] or domain["choice"]
        elif "int" in domain:
            low, high = domain["int"]
            kept[name]["int"] = [low, high if fits(name, high) else _largest(low, high, partial(fits, name))]
    return kept, None


def _largest(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """The largest number that fits, of those from `low` on, which fits, to below `high`, which does not."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def made_small(
    point: Mapping[str, Any], domains: Mapping[str, Any], sizes: Sizes, most: int, tables: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any] | None, int, int]:
    """The point with at most `most` parameters, and its size before and after; None where there is none so small.

    `domains`: of the options of its model, by name.
    """
    before = sizes.of(point)
    if before is None or before <= most:
        return dict(point), before or 0, before or 0
    after = before
    for table in ({}, *tables):
        found, size = _reduced({**point, **table}, domains, sizes, most)
        if size is not None and size <= most:
            return found, before, size
        after = after if size is None else min(after, size)
    return None, before, after


def change(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What is different in a point, as overrides."""
    return " ".join(override(k, v) for k, v in after.items() if k not in before or before[k] != v)


def _reduced(
    point: dict[str, Any], domains: Mapping[str, Any], sizes: Sizes, most: int
) -> tuple[dict[str, Any], int | None]:
    """A point whose options are reduced until it has at most `most` parameters, or cannot be smaller."""
    size, left = sizes.of(point), {f"model.{name}" for name in domains}
    first = {key: _amount(point.get(key)) for key in left}
    while size is not None and size > most and left:
        key = max(left, key=lambda k: (_amount(point.get(k)) / max(first[k], 1e-9), k))  # reduced least so far
        value = _smaller(point.get(key), domains[key.removeprefix("model.")])
        less = None if value is None else sizes.of({**point, key: value})
        if less is None or less >= size:
            left.remove(key)
        else:
            point, size = {**point, key: value}, less
    return point, size


def _smaller(value: Any, domain: Mapping[str, Any]) -> Any:
    """The next smaller value of a domain of numbers or widths of layers; None where there is none."""
    amount = _amount(value)
    if not amount:
        return None
    if "int" in domain:
        low = domain["int"][0]
        return max(low, min(value - 1, int(_STEP * value))) if value > low else None
    less = [v for v in domain.get("choice", ()) if 0 < _amount(v) < amount]
    return max(less, key=_amount, default=None)


def _amount(value: Any) -> float:
    """A whole number, or the sum of widths; 0 for what has no size."""
    if isinstance(value, list | tuple) and all(isinstance(v, int) and not isinstance(v, bool) for v in value):
        return float(sum(value))
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else 0.0
