"""Every override of a space checked against the plugin it reaches, before anything runs.

Composing a config takes Hydra a good part of a second, so two are composed; the rest is looked up in signatures.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from fmlab.config import schema as settings
from fmlab.config.overrides import override, text
from fmlab.errors import FmlabError, choices
from fmlab.plugin import registry
from fmlab.plugin.renames import with_new_names
from fmlab.plugin.signature import Signature
from fmlab.sweep.space import Constant, Numbers, Parameter, Point
from fmlab.sweep.spec import Sweep

_GROUPS = ("data", "protocol", "model", "loss", "sampler", "optimizer", "scheduler", "table", "search")
_OWN = ("trainer", "logger", "experiment")


def check_points(sweep: Sweep, lasting: Sequence[str], compose: Callable[[list[str]], DictConfig]) -> None:
    """Check each value of the space, under each condition it may meet; raises FmlabError for the first mistake."""
    for group in (g for g in _GROUPS if g in sweep.given):
        _check(sweep, group, sweep.given[group], {})
    config = compose([])
    seen: set[tuple[str, ...]] = set()
    for point in _samples(sweep):
        overrides = {**sweep.given, **point.overrides}
        names = _chosen(overrides, config)
        for key, value in overrides.items():
            place = (key, repr(value), names.get(key.partition(".")[0], ""))
            if place not in seen:
                seen.add(place)
                _check(sweep, key, value, names)
    _compose_first(sweep, lasting, compose)


def _compose_first(sweep: Sweep, lasting: Sequence[str], compose: Callable[[list[str]], DictConfig]) -> None:
    """Compose the config of the first point, for what signatures do not tell."""
    first = next(sweep.space.branches())
    try:
        compose([*lasting, *(override(k, v) for k, v in first.overrides.items())])
    except FmlabError as error:
        raise FmlabError(f"sweep {sweep.name}: {error}") from error


def _check(sweep: Sweep, key: str, value: Any, names: Mapping[str, str]) -> None:
    origin = "space" if any(p.key == key for p in sweep.space.parameters) else "fixed"
    group, _, option = key.partition(".")
    try:
        if key in _GROUPS:
            _known(key, str(value))
        elif group in _GROUPS and option:
            if registry.is_claimed(group, names[group]):
                _check_option(group, registry.schema(group, names[group]), option, value, f"{group} {names[group]}")
        elif group == "trainer" and option:
            _check_option(group, settings.signature_of(settings.Trainer), option, value, "the trainer")
        elif group not in _OWN and not group.startswith("hydra"):
            _check_option("", settings.signature_of(settings.Run), key, value, "a run")
    except FmlabError as error:
        raise FmlabError(f"sweep {sweep.name}: {origin}.{key}: {error}") from error


def _known(group: str, name: str) -> None:
    """Raises FmlabError for a plugin that is not installed or broken."""
    if registry.is_claimed(group, name):
        registry.schema(group, name)
    else:
        registry.find(group, name)


def _check_option(group: str, signature: Signature, name: str, value: Any, title: str) -> None:
    ((now, value),) = with_new_names(group, signature, {name: value}).items()
    found = next((o for o in signature.options if o.name == now), None)
    if found is None:
        known = choices(name, (o.name for o in signature.options))
        raise FmlabError(f"{name} is not an option of {title}; {known}")
    if isinstance(value, str) and "${" in value:
        return
    try:
        found.check(value)
    except ValueError as error:
        raise FmlabError(str(error)) from None


def _chosen(overrides: Mapping[str, Any], config: DictConfig) -> dict[str, str]:
    """The plugin of each group at a point: given, wanted by the model, the data or the protocol, or the usual one."""
    names = {g: str(overrides.get(g, config[g].name)) for g in ("data", "protocol", "model")}
    for group in ("loss", "sampler", "optimizer", "scheduler", "table", "search"):
        wanted = [
            registry.schema(g, names[g]).defaults.get(group)
            for g in ("model", "data", "protocol")
            if registry.is_claimed(g, names[g])
        ]
        usual = config[group].name if group in config else "none"
        partner = next((str(w) for w in wanted if w), str(usual))
        names[group] = str(overrides.get(group, partner))
    return names


def _samples(sweep: Sweep) -> Iterator[Point]:
    """A point of each branch, and for each parameter of it a point of each other value."""
    for branch in sweep.space.branches():
        yield branch
        for parameter in sweep.space.parameters:
            if parameter.name in branch.params:
                for value in _values(parameter):
                    if text(value) != text(branch.params[parameter.name]):
                        yield _moved(sweep, branch, parameter, value)


def _moved(sweep: Sweep, branch: Point, parameter: Parameter, value: Any) -> Point:
    def choose(other: Parameter) -> Any:
        if other.name == parameter.name:
            return value
        return branch.params.get(other.name, _values(other)[0])

    return sweep.space.walk(choose)


def _values(parameter: Parameter) -> Sequence[Any]:
    domain = parameter.domain
    if isinstance(domain, Numbers):
        ends = (domain.low, domain.last)
        return [int(v) if domain.whole else float(v) for v in ends]
    return (domain.value,) if isinstance(domain, Constant) else domain.values
