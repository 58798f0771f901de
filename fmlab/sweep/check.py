"""Every override of a space, checked against the config it would change, before anything runs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fmlab.errors import FmlabError
from fmlab.sweep.definition import Sweep
from fmlab.sweep.space import Constant, Numbers, Parameter, Point, override

_MOST = 300  # configs composed at most; a space of more values is checked in part


def check_points(sweep: Sweep, lasting: Sequence[str], compose: Callable[[list[str]], Any]) -> None:
    """Compose one config for each condition and each value of the space; raises FmlabError for the first mistake."""
    for number, (parameter, point) in enumerate(_samples(sweep)):
        if number == _MOST:
            return
        try:
            compose([*lasting, *(override(k, v) for k, v in point.overrides.items())])
        except FmlabError as error:
            where = f"space.{parameter.key}: " if parameter is not None else ""
            raise FmlabError(f"sweep {sweep.name}: {where}{error}") from error


def _samples(sweep: Sweep) -> Iterator[tuple[Parameter | None, Point]]:
    """A point of each branch, and for each parameter of it a point of each other value."""
    seen: set[tuple[str, str]] = set()
    for branch in sweep.space.branches():
        yield None, branch
        for parameter in sweep.space.parameters:
            if parameter.name not in branch.params:
                continue
            for value in _values(parameter):
                key = (parameter.name, repr(value))
                if key not in seen and value != branch.params[parameter.name]:
                    seen.add(key)
                    yield parameter, _moved(sweep, branch, parameter, value)


def _moved(sweep: Sweep, branch: Point, parameter: Parameter, value: Any) -> Point:
    def choose(other: Parameter) -> Any:
        if other.name == parameter.name:
            return value
        return branch.params.get(other.name, _values(other)[0])

    return sweep.space.walk(choose)


def _values(parameter: Parameter) -> Sequence[Any]:
    domain = parameter.domain
    if isinstance(domain, Numbers):
        ends = (domain.low, domain.high)
        return [int(v) if domain.whole else float(v) for v in ends]
    return (domain.value,) if isinstance(domain, Constant) else domain.values
