"""A search space as plain config, conditional where a value only makes sense beside another.

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

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, NamedTuple

from fmlab.config.overrides import text
from fmlab.errors import FmlabError, choices
from fmlab.plugin.renames import NewName, new_value

KINDS = ("choice", "int", "float", "const")
_MORE = {"int": ("step", "log"), "float": ("step", "log"), "choice": ("installed",)}


@dataclass(frozen=True)
class Choice:
    """One of the listed values."""

    values: tuple[Any, ...]

    def grid(self) -> tuple[Any, ...]:
        """All of them."""
        return self.values

    @property
    def mixed(self) -> bool:
        """Whether values that are written differently are stored alike: true and 1, 1 and 1.0, [1] and '[1]'."""
        plain = [text(v) if isinstance(v, list) else v for v in self.values]
        return any(a == b for i, a in enumerate(plain) for b in plain[:i])


@dataclass(frozen=True)
class Numbers:
    """Numbers between two bounds, both included; whole ones if `whole`; uniform in the logarithm if `log`."""

    low: float
    high: float
    step: float | None = None
    log: bool = False
    whole: bool = False

    def grid(self) -> tuple[float, ...]:
        """The numbers a step apart; raises FmlabError where there is no step."""
        if self.step is None and (self.log or not self.whole):
            raise FmlabError(f"a grid needs a step or choices, got the range [{self.low:g}, {self.high:g}]")
        low, step = Decimal(str(self.low)), Decimal(str(self.step or 1))
        return tuple(self._number(low + i * step) for i in range(self._steps() + 1))

    @property
    def last(self) -> float:
        """The largest number that is reached; below `high` where no whole number of steps leads there."""
        if self.step is None:
            return self.high
        return self._number(Decimal(str(self.low)) + self._steps() * Decimal(str(self.step)))

    def _steps(self) -> int:
        return int((Decimal(str(self.high)) - Decimal(str(self.low))) / Decimal(str(self.step or 1)))

    def _number(self, number: Decimal) -> float:
        return int(number) if self.whole else float(number)


@dataclass(frozen=True)
class Constant:
    """A value that is set, not searched."""

    value: Any

    def grid(self) -> tuple[Any, ...]:
        """The value."""
        return (self.value,)


Domain = Choice | Numbers | Constant


@dataclass(frozen=True)
class Parameter:
    """One override, its domain, and when it applies. `name` tells apart several domains of one key."""

    name: str
    key: str
    domain: Domain
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def applies(self, values: Mapping[str, Any]) -> bool:
        """Whether all conditions hold beside these overrides; values are the same if they are written alike."""
        return all(key in values and text(values[key]) in map(text, allowed) for key, allowed in self.when.items())


class Point(NamedTuple):
    """One place in a space: searched values by parameter name, and all overrides by key."""

    params: dict[str, Any]
    overrides: dict[str, Any]


@dataclass(frozen=True)
class Space:
    """Parameters, each after those its conditions name. `given`: overrides of the whole sweep."""

    parameters: tuple[Parameter, ...]
    given: Mapping[str, Any] = field(default_factory=dict)

    def walk(self, choose: Callable[[Parameter], Any]) -> Point:
        """The point whose searched values are `choose(parameter)` for each parameter that applies."""
        point = Point({}, {})
        for parameter in self.parameters:
            if self._applies(parameter, point.overrides):
                if isinstance(parameter.domain, Constant):
                    point.overrides[parameter.key] = parameter.domain.value
                else:
                    value = choose(parameter)
                    point.params[parameter.name] = point.overrides[parameter.key] = value
        return point

    def grid(self) -> Iterator[Point]:
        """Every point once, the last parameter running fastest."""
        return self._expand(0, Point({}, {}), lambda p: p.domain.grid())

    def branches(self) -> Iterator[Point]:
        """One point for each way that conditions can turn out."""
        deciding = self._deciding()
        return self._expand(0, Point({}, {}), lambda p: _examples(p.domain, p.key in deciding))

    def size(self) -> int:
        """Number of points of the grid."""
        return self._count(0, {})

    def _expand(self, at: int, point: Point, values: Callable[[Parameter], Sequence[Any]]) -> Iterator[Point]:
        if at == len(self.parameters):
            yield point
            return
        parameter = self.parameters[at]
        if not self._applies(parameter, point.overrides):
            yield from self._expand(at + 1, point, values)
            return
        searched = not isinstance(parameter.domain, Constant)
        for value in values(parameter):
            params = {**point.params, parameter.name: value} if searched else point.params
            yield from self._expand(at + 1, Point(params, {**point.overrides, parameter.key: value}), values)

    def _count(self, at: int, overrides: dict[str, Any]) -> int:
        if at == len(self.parameters):
            return 1
        parameter = self.parameters[at]
        if not self._applies(parameter, overrides):
            return self._count(at + 1, overrides)
        values = parameter.domain.grid()
        if parameter.key not in self._deciding():
            return len(values) * self._count(at + 1, overrides)
        return sum(self._count(at + 1, {**overrides, parameter.key: v}) for v in values)

    def _applies(self, parameter: Parameter, overrides: Mapping[str, Any]) -> bool:
        applies = parameter.applies({**self.given, **overrides})
        if applies and parameter.key in overrides:
            raise FmlabError(f"space.{parameter.key}: only one case may hold at a time, two do beside {overrides}")
        return applies

    def unreached(self) -> list[str]:
        """A line for each range whose end is never reached."""
        return [
            f"space.{p.key}: the range [{p.domain.low:g}, {p.domain.high:g}] with step {p.domain.step:g} ends at "
            f"{p.domain.last:g}; {p.domain.high:g} is never reached"
            for p in self.parameters
            if isinstance(p.domain, Numbers) and p.domain.last != p.domain.high
        ]

    def _deciding(self) -> set[str]:
        return {key for p in self.parameters for key in p.when}


def _examples(domain: Domain, every: bool) -> Sequence[Any]:
    if isinstance(domain, Numbers):
        return (int(domain.low) if domain.whole else float(domain.low),)
    values = domain.grid()
    return values if every else values[:1]


# --------------------------------------------------------------------------------------------- parsing


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
