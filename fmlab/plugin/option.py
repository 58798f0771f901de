"""Option values: what a plugin's annotations allow, and how a value is checked against them.

An annotation is int, float, bool, str, `X | None`, `tuple[int, ...]`, `Literal[...]`, or `Annotated[T, ...]` of these
with a `Range`, a description, the name that the option had before, and the other option that it is used with:

    lr: Annotated[float, Range(0, None, open_low=True), "step size"] = 0.001
    log_squared: Annotated[tuple[str, ...], "columns that become floor(ln(x)^2)", Renamed("log2")] = ()
    ties: Annotated[Literal["expected", "worst"], "rank of equal scores", UsedWith("evaluation", "all")] = "expected"
"""

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin


@dataclass(frozen=True)
class Range:
    """Allowed values of a number. Bounds are inclusive unless opened; None is unbounded."""

    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether the value lies in the range; NaN never does."""
        above = self.low is None or (value > self.low if self.open_low else value >= self.low)
        below = self.high is None or (value < self.high if self.open_high else value <= self.high)
        return above and below and value == value

    def __str__(self) -> str:
        """As in mathematics: `(0, 1]`."""
        left = "(-inf" if self.low is None else f"{'(' if self.open_low else '['}{self.low}"
        right = "inf)" if self.high is None else f"{self.high}{')' if self.open_high else ']'}"
        return f"{left}, {right}"


@dataclass(frozen=True)
class Renamed:
    """The name that an option had before, which works for one release, with a warning.

    `values`: values that are written otherwise now, old to new; `old` may be today's name where only these changed.
    """

    old: str
    values: Mapping[Any, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, init=False)
class UsedWith:
    """What another option must be for this one to have an effect; without it, any value but the default is refused.

    `values`: those of the other option; none of them stands for all but its default.
    """

    option: str
    values: tuple[Any, ...]

    def __init__(self, option: str, *values: Any) -> None:
        """`UsedWith("evaluation", "all", "sampled")`, `UsedWith("candidate_file")`."""
        object.__setattr__(self, "option", option)
        object.__setattr__(self, "values", values)

    def holds(self, value: Any, default: Any) -> bool:
        """Whether the other option has such a value. `default`: its default."""
        return value in self.values if self.values else value != default

    def __str__(self) -> str:
        """As messages and descriptions have it."""
        if not self.values:
            return f"used with {self.option}"
        *others, last = map(str, self.values)
        return f"used with {self.option}={', '.join(others)}{' or ' if others else ''}{last}"


class _Required:
    """The default of an option that has none."""

    def __repr__(self) -> str:
        return "required"


REQUIRED: Final = _Required()


@dataclass(frozen=True)
class Option:
    """A keyword-only parameter: its name, type, default (`REQUIRED` if it has none), description, former names, and the
    option that it is used with."""

    name: str
    type: Any
    default: Any = REQUIRED
    description: str = ""
    renamed: tuple[Renamed, ...] = ()
    used_with: UsedWith | None = None

    @classmethod
    def of(cls, name: str, annotation: Any, default: Any = REQUIRED) -> "Option":
        """The option that an annotation declares."""
        about = _about(annotation)
        description = next((" ".join(a.split()) for a in about if isinstance(a, str)), "")
        condition = next((a for a in about if isinstance(a, UsedWith)), None)
        description = "; ".join(str(part) for part in (description, condition) if part)
        renamed = tuple(a for a in about if isinstance(a, Renamed))
        return cls(name, annotation, default, description, renamed, condition)

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.default is REQUIRED

    def check(self, value: Any) -> Any:
        """The value, converted: lists to tuples, 1 to 1.0; raises ValueError saying the rule and what was got."""
        try:
            return _convert(value, self.type)
        except ValueError:
            raise ValueError(f"must be {_rule(self.type)}, got {value!r}{_hint(value, self.type)}") from None

    def __str__(self) -> str:
        """The type, short: `int in [1, inf)`."""
        return _short(self.type)


_WORDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text", types.NoneType: "null"}


def _about(annotation: Any) -> list[Any]:
    """What stands beside the types of an annotation, at any depth: ranges, descriptions, former names."""
    arms = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return [*_about(arms[0]), *arms[1:]]
    return [] if get_origin(annotation) is Literal else [one for arm in arms for one in _about(arm)]


def _bounds(arms: Sequence[Any]) -> list[Range]:
    """The ranges of the arguments of `Annotated`."""
    return [a for a in arms[1:] if isinstance(a, Range)]


def supported(kind: Any) -> bool:
    """Whether an annotation is one that options may have."""
    origin, arms = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return supported(arms[0]) and all(isinstance(a, Range | Renamed | UsedWith | str) for a in arms[1:])
    if origin is Literal:
        return all(isinstance(a, str | int | float | bool) for a in arms)
    if origin in (Union, types.UnionType):
        return all(supported(a) for a in arms)
    if origin is tuple:
        return bool(arms) and all(a is ... or supported(a) for a in arms)
    return kind is None or (isinstance(kind, type) and kind in _WORDS)


def _convert(value: Any, kind: Any) -> Any:
    """The value as the annotation wants it; ValueError if it cannot be."""
    origin, arms = get_origin(kind), get_args(kind)
    if origin is Annotated:
        value = _convert(value, arms[0])
        for bounds in _bounds(arms):
            _check_range(value, bounds)
        return value
    if origin is Literal:
        for choice in arms:
            if type(choice) is type(value) and choice == value:
                return choice
        raise ValueError
    if origin in (Union, types.UnionType):
        return _convert_to_one_of(value, arms)
    if origin is tuple:
        return _convert_sequence(value, arms)
    return _convert_plain(value, kind)


def _convert_to_one_of(value: Any, arms: Sequence[Any]) -> Any:
    fitting = []
    for arm in arms:
        try:
            fitting.append(_convert(value, arm))
        except ValueError:
            continue
    for result in fitting:  # "8" stays text where text is allowed
        if type(result) is type(value):
            return result
    if not fitting:
        raise ValueError
    return fitting[0]


def _convert_sequence(value: Any, arms: Sequence[Any]) -> tuple[Any, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise ValueError
    if len(arms) == 2 and arms[1] is ...:
        return tuple(_convert(v, arms[0]) for v in value)
    if len(value) != len(arms):
        raise ValueError
    return tuple(_convert(v, a) for v, a in zip(value, arms, strict=True))


def _convert_plain(value: Any, kind: Any) -> Any:
    if kind is None or kind is types.NoneType:
        if value is None:
            return None
    elif kind is bool or kind is str:
        if isinstance(value, kind):
            return value
    elif not isinstance(value, bool):
        # Text comes from environment variables: ${env:DIM}. A float such as 1e6 is a whole number.
        if kind is float and isinstance(value, int | float | str):
            if not math.isfinite(number := _as_float(value)):
                raise ValueError
            return number
        if kind is int and isinstance(value, int | str):
            return int(value)
        if kind is int and isinstance(value, float) and value.is_integer():
            return int(value)
    raise ValueError


def _as_float(value: float | str) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return math.inf


def _check_range(value: Any, bounds: Range) -> None:
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, int | float) and not isinstance(number, bool) and number not in bounds:
            raise ValueError


def _rule(kind: Any) -> str:
    """In words: `a whole number in [1, inf)`."""
    origin, arms = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return " in ".join([_rule(arms[0]), *map(str, _bounds(arms))])
    if origin is Literal:
        return f"one of {', '.join(str(a) for a in arms)}"
    if origin in (Union, types.UnionType):
        return " or ".join(_rule(a) for a in arms)
    if origin is tuple:
        inside = _rule(arms[0]) if arms[-1] is ... else ", ".join(_rule(a) for a in arms)
        return f"a list [...] of: {inside}"
    return _WORDS[types.NoneType if kind is None else kind]


def _short(kind: Any) -> str:
    origin, arms = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return " in ".join([_short(arms[0]), *map(str, _bounds(arms))])
    if origin is Literal:
        return "|".join(str(a) for a in arms)
    if origin in (Union, types.UnionType):
        return " or ".join(_short(a) for a in arms)
    if origin is tuple:
        inside = _short(arms[0]) if arms[-1] is ... else ", ".join(_short(a) for a in arms)
        return f"list of {inside}"
    return "null" if kind is None or kind is types.NoneType else str(kind.__name__)


def _hint(value: Any, kind: Any) -> str:
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    words = [a for a in _literals(kind) if isinstance(a, str)]
    if isinstance(value, str) and words:
        near = get_close_matches(value, words, n=1, cutoff=0.5)
        return f"; did you mean {near[0]!r}?" if near else ""
    each = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if any(v is None or isinstance(v, bool | int | float) for v in each) and str in (kind, *get_args(kind)):
        quoted = [v if isinstance(v, str) else "null" if v is None else str(v) for v in each]
        shown = "'{}'".format("','".join(quoted))
        shown = shown if each == [value] else f"[{shown}]"
        return f'; quote text that reads as a number or as yes and no, for the shell too: "{shown}"'
    return ""


def _literals(kind: Any) -> list[Any]:
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [a for arm in get_args(kind) for a in _literals(arm)]
