"""Derived fields (target statistics, crosses) as arrays of the serving file, and back. Read ones are not trusted."""

from dataclasses import asdict
from typing import Any

import numpy as np

from fmlab.data import Array, Schema
from fmlab.data.derived_fields import COUNTS, VALUES, Cross, DerivedFields, LabelRange, Statistic, group_of
from fmlab.data.kept_fields import KeptFields
from fmlab.data.store.container import Container
from fmlab.untrusted.dataclasses import checked

MOST = 1000  # groups


def pack_derived(derived: DerivedFields, arrays: dict[str, Array]) -> dict[str, Any]:
    """Built-in containers; what is long goes to `arrays`."""
    for number, cross in enumerate(derived.crosses):
        arrays[f"crosses.{number}.steps"] = np.diff(cross.key, prepend=0)
    for number, statistic in enumerate(derived.statistics):
        name = f"statistics.{number}"
        arrays[f"{name}.steps"] = np.diff(statistic.key, prepend=0)
        arrays[f"{name}.count"], arrays[f"{name}.edges"] = statistic.count, statistic.edges
        arrays[f"{name}.total"] = statistic.total.astype(np.float64)
    scale = derived.scale
    return {
        "crosses": ["*".join(c.fields) for c in derived.crosses],
        "statistics": ["*".join(s.fields) for s in derived.statistics],
        "form": derived.form,
        "scale": None if scale is None else asdict(scale),
        "ignored": list(derived.ignored),
    }


def unpack_derived(stored: Any, file: Container, schema: Schema) -> DerivedFields:
    """Inverse of `pack_derived`; raises ValueError, TypeError, KeyError, DataError or StorageError."""
    groups = {what: [group_of(text, schema) for text in stored[what]] for what in ("crosses", "statistics")}
    if stored["form"] not in ("bins", "numbers") or sum(map(len, groups.values())) > MOST:
        raise ValueError("derived fields have no such form or number")
    crosses = [Cross(g, _key(file, f"crosses.{n}")) for n, g in enumerate(groups["crosses"])]
    statistics = []
    for number, group in enumerate(groups["statistics"]):
        name = f"statistics.{number}"
        key = _key(file, name)
        count, total, edges = (file.array(f"{name}.{part}") for part in ("count", "total", "edges"))
        if (
            count.dtype != np.uint32
            or total.dtype != np.float64
            or count.shape != key.shape
            or total.shape != key.shape
        ):
            raise ValueError(f"counts and totals of {'*'.join(group)} are one number a combination")
        rising = edges.ndim == 1 and edges.dtype == np.float32 and not (np.diff(edges) <= 0).any()
        if not rising or len(edges) >= VALUES or not np.isfinite(total).all() or not np.isfinite(edges).all():
            raise ValueError(f"statistics of {'*'.join(group)} are no finite numbers in {VALUES} x {COUNTS} bins")
        statistics.append(Statistic(group, key, count, total, edges))
    scale = None if stored["scale"] is None else checked(LabelRange, stored["scale"])
    if (scale is None and statistics) or (scale and (not scale.spread > 0 or not scale.high > scale.low)):
        raise ValueError("labels of derived fields differ")
    ignored = stored.get("ignored", [])  # earlier versions ignore no field
    if not isinstance(ignored, list) or not all(isinstance(name, str) for name in ignored):
        raise ValueError("fields that are ignored are named")
    KeptFields(schema, tuple(ignored))
    return DerivedFields(schema, tuple(crosses), tuple(statistics), stored["form"], scale, tuple(ignored))


def _key(file: Container, name: str) -> Array:
    steps = file.array(f"{name}.steps")
    if steps.dtype != np.int64 or steps.ndim != 1 or (len(steps) and (steps[0] < 0 or (steps[1:] <= 0).any())):
        raise ValueError(f"keys of {name} do not rise")
    return np.cumsum(steps)
