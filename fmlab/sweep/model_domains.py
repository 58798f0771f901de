"""Domains of models' options, in the words of a sweep's `space`, and points that keep to them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fmlab.config.overrides import text
from fmlab.errors import FmlabError, choices
from fmlab.plugin import registry


def options_of(model: str, usual: Mapping[str, Any]) -> dict[str, Any]:
    """Domains of a model's options: what it declares, else what options of these names have."""
    signature = registry.schema("model", model)
    found = {}
    for option in signature.options:
        spec = signature.space.get(option.name, usual.get(option.name))
        if spec is not None:
            found[option.name] = with_default(spec, option.default)
    for name in signature.space:
        if name not in {o.name for o in signature.options}:
            known = choices(name, (o.name for o in signature.options))
            raise FmlabError(f"model {model!r}: its `space` has {name!r}, which is no option of it; {known}")
    return found


def cases_of(searched: Mapping[str, Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """`model.<option>`: one case for all models that search it alike."""
    groups: dict[str, dict[str, list[str]]] = {}
    for model, options in searched.items():
        for name, spec in options.items():
            groups.setdefault(f"model.{name}", {}).setdefault(json.dumps(spec, sort_keys=True), []).append(model)
    return {
        key: [{**json.loads(spec), "when": {"model": models}} for spec, models in specs.items()]
        for key, specs in groups.items()
    }


def admit(searched: Mapping[str, dict[str, Any]], known: Sequence[Mapping[str, Any]]) -> None:
    """Make the values that points of the portfolio have part of the domains of their model's options."""
    for point in known:
        model = str(point["model"])
        defaults = {o.name: o.default for o in registry.schema("model", model).options}
        for key, value in point.items():
            name = key.removeprefix("model.")
            if name == key or name not in defaults:
                continue
            spec = searched[model].setdefault(name, with_default({"choice": [value]}, defaults[name]))
            if "choice" in spec and not among(value, spec["choice"]):
                spec["choice"] = [*spec["choice"], value]


def with_default(spec: Mapping[str, Any], default: Any) -> dict[str, Any]:
    """The paper's value is one of the choices."""
    if "choice" not in spec or default is None:
        return dict(spec)
    value = list(default) if isinstance(default, tuple) else default
    return {**spec, "choice": [*spec["choice"], *([] if among(value, spec["choice"]) else [value])]}


def within(point: Mapping[str, Any], space: Mapping[str, Any]) -> dict[str, Any]:
    """A point without what the sweep does not search, its numbers within their bounds."""
    kept = {}
    for key, value in point.items():
        if key not in space:
            continue
        cases = [c for c in listed(space[key]) if applies(c, point)]
        bounds = next((c.get("int") or c.get("float") for c in cases if c.get("int") or c.get("float")), None)
        kept[key] = min(max(value, bounds[0]), bounds[1]) if bounds is not None else value
    return kept


def applies(case: Mapping[str, Any], point: Mapping[str, Any]) -> bool:
    """Whether the conditions of a case of a domain hold for a point."""
    return all(point.get(key) in listed(values) for key, values in (case.get("when") or {}).items())


def inside(spec: Mapping[str, Any], value: Any) -> Any:
    """A default within its domain; None where the sampler is to choose."""
    if "choice" in spec:
        value = list(value) if isinstance(value, tuple) else value
        return value if among(value, spec["choice"]) else None
    bounds = spec.get("int") or spec.get("float")
    if bounds is None or not isinstance(value, int | float):
        return None
    return min(max(value, bounds[0]), bounds[1])


def among(value: Any, listed: Sequence[Any]) -> bool:
    """Whether a value is listed, as it is written: 1 is neither true nor 1.0."""
    return text(value) in map(text, listed)


def listed(value: Any) -> Sequence[Any]:
    """A value that may stand alone, as a list; None is an empty one."""
    return value if isinstance(value, list | tuple) else [value] if value is not None else []
