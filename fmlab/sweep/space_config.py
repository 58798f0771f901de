"""A search space as it is written in a config, conditional where a value only makes sense beside another.

    space:
      model: {choice: [lorentzfm, deepfm]}
      batch_size: {choice: [64, 128, 256, 512]}
      model.dim: {int: [4, 64], log: true}
      model.hidden: {choice: [[512, 256], [100, 100]], when: {model: deepfm}}
      optimizer.lr:
        - {choice: [0.05, 0.1], when: {model: lorentzfm}}
        - {const: 0.001, when: {model: deepfm}}

Keys are the left-hand sides of overrides. `installed: true` beside `choice` leaves out plugins that are not installed.
`const` is an override that is not searched. `when` names other keys of the space, or overrides that hold for the
whole sweep; all its conditions must hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fmlab.config.overrides import text
from fmlab.errors import FmlabError, choices
from fmlab.plugin.renames import NewName, new_value
from fmlab.sweep.space import Choice, Constant, Domain, Numbers, Parameter, Space

KINDS = ("choice", "int", "float", "const")
_MORE = {"int": ("step", "log"), "float": ("step", "log"), "choice": ("installed",)}


def parse(raw: Mapping[str, Any], given: Mapping[str, Any]) -> Space:
    """A space from its config; keys in `given` are not searched; raises FmlabError naming `space.<key>`."""
    parameters = [p for key, spec in raw.items() if key not in given for p in _cases(str(key), spec)]
    keys = {p.key for p in parameters}
    for parameter in parameters:
        for key in parameter.when:
            if key not in keys and key not in given:
                known = choices(key, {*keys, *given} - {parameter.key})
                raise FmlabError(f"space.{parameter.key}: `when` names {key}, which the sweep does not set; {known}")
    parameters = [replace(p, when={k: _as_set(k, v, parameters, given) for k, v in p.when.items()}) for p in parameters]
    return Space(tuple(_ordered(parameters)), given)


def _as_set(
    key: str, wanted: Sequence[Any], parameters: Sequence[Parameter], given: Mapping[str, Any]
) -> tuple[Any, ...]:
    """The values of a condition as the sweep sets them: 8 for 8.0 where there is only an 8; never 1 for true."""
    domains = [p.domain for p in parameters if p.key == key]
    values = [given[key]] if key in given else [v for d in domains if not isinstance(d, Numbers) for v in d.grid()]
    found = []
    for value in wanted:
        same = [v for v in values if text(v) == text(value)] or [v for v in values if _is_number(v) and v == value]
        if not same and any(isinstance(d, Numbers) for d in domains) and _is_number(value):
            whole = all(d.whole for d in domains if isinstance(d, Numbers))
            same = [int(value) if whole and value == int(value) else float(value)]
        found += same if same and _is_number(value) else [value]
    return tuple(found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cases(key: str, spec: Any) -> list[Parameter]:
    if not isinstance(spec, list | tuple):
        return [_parameter(key, key, spec)]
    found = [_parameter(key, key, s) for s in spec]
    labels = [f"{key}@{','.join('|'.join(map(str, v)) for v in p.when.values())}" for p in found]
    if len(set(labels)) < len(labels):
        raise FmlabError(f"space.{key}: several cases need different `when` conditions, got {labels}")
    return [Parameter(label, key, p.domain, p.when) for label, p in zip(labels, found, strict=True)]


def _parameter(name: str, key: str, spec: Any) -> Parameter:
    if isinstance(spec, Mapping) and "value" in spec:
        new = new_value(f"space.{key}", "value", NewName("const", {}), spec["value"])
        spec = {**{k: v for k, v in spec.items() if k != "value"}, "const": new}
    if not isinstance(spec, Mapping) or sum(k in spec for k in KINDS) != 1:
        raise FmlabError(f"space.{key} must hold one of {', '.join(KINDS)}, got {spec!r}")
    kind = next(k for k in KINDS if k in spec)
    allowed = (kind, "when", *_MORE.get(kind, ()))
    for word in spec:
        if word not in allowed:
            raise FmlabError(f"space.{key}.{word} is not an option of {kind}; {choices(str(word), allowed)}")
    when = spec.get("when", {})
    if not isinstance(when, Mapping):
        raise FmlabError(f"space.{key}.when must be a mapping such as {{model: [fm, ffm]}}, got {when!r}")
    conditions = {str(k): tuple(v) if isinstance(v, list | tuple) else (v,) for k, v in when.items()}
    return Parameter(name, key, _domain(key, kind, spec), conditions)


def _domain(key: str, kind: str, spec: Mapping[str, Any]) -> Domain:
    content = spec[kind]
    if kind == "const":
        return Constant(content)
    if kind == "choice":
        if not isinstance(content, list | tuple) or not content:
            raise FmlabError(f"space.{key}.choice must be a list of values, got {content!r}")
        values = tuple(list(v) if isinstance(v, list | tuple) else v for v in content)
        if len({text(v) for v in values}) < len(values):
            raise FmlabError(f"space.{key}.choice must not repeat a value, got {content!r}")
        return Choice(values)
    return _numbers(key, kind, content, spec.get("step"), spec.get("log", False))


def _numbers(key: str, kind: str, bounds: Any, step: Any, log: Any) -> Numbers:
    number = int if kind == "int" else (int, float)
    good = isinstance(bounds, list | tuple) and len(bounds) == 2 and all(_is(b, number) for b in bounds)
    if not good or bounds[0] > bounds[1]:
        raise FmlabError(f"space.{key}.{kind} must be [low, high], got {bounds!r}")
    if step is not None and (not _is(step, number) or step <= 0):
        raise FmlabError(f"space.{key}.step must be greater than 0, got {step!r}")
    if not isinstance(log, bool):
        raise FmlabError(f"space.{key}.log must be true or false, got {log!r}")
    if log and (bounds[0] <= 0 or step is not None):
        raise FmlabError(f"space.{key}: log needs a lower bound above 0 and no step, got {bounds!r}, step {step!r}")
    return Numbers(bounds[0], bounds[1], step, log, kind == "int")


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and value == value


def _ordered(parameters: list[Parameter]) -> list[Parameter]:
    """The order of the file, but each after the parameters its conditions name."""
    left, done = list(parameters), []
    while left:
        waiting = {p.key for p in left}
        ready = [p for p in left if not any(k in waiting and k != p.key for k in p.when)]
        if not ready or any(p.key in p.when for p in ready):
            raise FmlabError(f"the conditions of a space must not go round in a circle, got {sorted(waiting)}")
        done.append(ready[0])
        left.remove(ready[0])
    return done
