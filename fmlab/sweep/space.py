"""A search space: parameters with their domains and conditions, and the points that it has."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from fmlab.config.overrides import text
from fmlab.errors import FmlabError


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
