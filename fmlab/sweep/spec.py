"""A sweep as written in `sweeps/<name>.yaml` and changed on the command line: typed, checked, explained."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from fmlab.config import durations
from fmlab.config.hydra_keys import refuse_overrides_of_hydra
from fmlab.config.schema import PRUNERS, SAMPLERS, SWEEP_PARTS, Direction, signature_of, sweep_options
from fmlab.config.schema import Sweep as SweepOptions
from fmlab.errors import FmlabError, choices
from fmlab.files import bytes_of
from fmlab.plugin import option_values, registry
from fmlab.plugin.renames import with_new_names
from fmlab.plugin.signature import Signature
from fmlab.sweep.space import Space
from fmlab.sweep.space_config import parse

# Where results go and what is shown does not change what a trial computes.
NEUTRAL = (
    *("data_dir", "cache_dir", "root", "cache", "tags", "logger", "logger.", "refit_on"),
    *("trainer.threads", "trainer.progress", "hydra.", "hydra/"),
)


@dataclass(frozen=True)
class Sweep:
    """A checked sweep. `given`: all overrides that hold for every trial; `command`: those typed by the user."""

    name: str
    settings: SweepOptions
    sampler: str
    sampler_options: Mapping[str, Any]
    pruner: str
    pruner_options: Mapping[str, Any]
    space: Space
    given: Mapping[str, Any]
    command: Mapping[str, str]
    initial_points: tuple[Mapping[str, Any], ...]
    raw_space: Mapping[str, Any]
    left_out: tuple[str, ...] = ()  # plugins of the space that are not installed

    @property
    def study(self) -> str:
        """The name of the study."""
        return self.settings.study or self.name

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the objectives; empty for the one that the protocol selects by."""
        metric = self.settings.metric
        return () if metric is None else (metric,) if isinstance(metric, str) else metric

    @property
    def directions(self) -> tuple[Direction, ...]:
        """One for each objective."""
        direction = self.settings.direction
        if direction is None:
            return tuple("maximize" for _ in self.metrics or ("",))
        return (direction,) if isinstance(direction, str) else direction

    @property
    def budget(self) -> float | None:
        """Wall-clock seconds, or None."""
        return None if self.settings.budget is None else seconds(self.settings.budget)

    @property
    def refit_seeds(self) -> tuple[int, ...]:
        """Seeds that the best point is trained with after the search."""
        return self.settings.refit_seeds or ()

    @property
    def memory_of_worker(self) -> int | None:
        """Bytes of memory that a worker may hold, or None."""
        limit = self.settings.memory_limit
        return None if limit is None else bytes_of(limit, "memory_limit") // max(1, self.settings.workers or 1)

    def time_limit(self, index: int) -> float | None:
        """Seconds that the `index`-th proposal may train.

        Those of `initial_points` share half of the workers' time, and have no less than later ones.
        """
        if self.budget is None or self.settings.trial_time_fraction is None:
            return None
        later = self.budget * self.settings.trial_time_fraction
        if index < len(self.initial_points):
            return max(later, self.budget * (self.settings.workers or 1) * 0.5 / len(self.initial_points))
        return later

    @property
    def total(self) -> int | None:
        """The number of points; None where the sweep ends with its budget."""
        if self.sampler == "grid":
            return self.space.size()
        return self.settings.n_trials

    def identity(self) -> dict[str, Any]:
        """What a study must share with its sweep, as plain JSON."""
        lasting = {k: v for k, v in self.given.items() if not k.startswith(NEUTRAL)}
        space = {k: v for k, v in self.raw_space.items() if k not in self.given}
        # The key has the name that it has in studies of older versions.
        part = {} if self.settings.train_fraction is None else {"part": self.settings.train_fraction}
        return {
            "space": space,
            "fixed": lasting,
            "metric": list(self.metrics),
            "direction": list(self.directions),
            "seeds": list(self.settings.seeds),
            **part,
        }


def read(name: str, raw: Mapping[str, Any], command: Mapping[str, str] | None = None) -> Sweep:
    """A sweep from its config; `command`: overrides typed by the user, by key, which win; raises FmlabError."""
    command, raw = dict(command or {}), of_now(raw)
    known = [o.name for o in sweep_options()]
    for key in raw:
        if key not in known:
            raise FmlabError(f"sweep {name}: {key} is not an option of a sweep; {choices(str(key), known)}")
    try:
        return _read(name, raw, command)
    except FmlabError as error:
        raise FmlabError(f"sweep {name}: {error}") from None


def of_now(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a sweep by their names of today."""
    return with_new_names("sweep", Signature(sweep_options()), raw)


def _read(name: str, raw: Mapping[str, Any], command: dict[str, str]) -> Sweep:
    fixed, space = (_mapping(raw.get(k), k) for k in ("fixed", "space"))
    for part, overrides in (("fixed", fixed), ("space", space)):
        refuse_overrides_of_hydra(overrides, part)
    if not space:
        raise FmlabError("space must hold at least one override to search, got none")
    parts = {o.name for o in SWEEP_PARTS}
    plain = {k: v for k, v in raw.items() if k not in parts}
    settings = SweepOptions(**option_values.check_options("sweep", signature_of(SweepOptions), plain, "a sweep"))
    sampler, sampler_options = _named("sampler", raw.get("sampler") or "tpe", SAMPLERS)
    pruner, pruner_options = _named("pruner", raw.get("pruner") or "none", PRUNERS)
    given = {**fixed, **{k: value_of(v) for k, v in command.items()}}
    usable, left_out = _installed(space)
    first: tuple[Mapping[str, Any], ...] = tuple(_mapping(p, "initial_points") for p in raw.get("initial_points") or ())
    for point in first:
        refuse_overrides_of_hydra(point, "initial_points")
    first = tuple(p for p in first if not any(f"{k} {v}" in left_out for k, v in p.items()))
    first = _agreeing(first, given) if command else first
    sweep = Sweep(
        name=name,
        settings=settings,
        sampler=sampler,
        sampler_options=sampler_options,
        pruner=pruner,
        pruner_options=pruner_options,
        space=parse(usable, given),
        given=given,
        command=command,
        initial_points=first,
        raw_space=space,
        left_out=left_out,
    )
    _agree(sweep)
    return sweep


def _agreeing(points: Sequence[Mapping[str, Any]], given: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Points of the model that is given, if one is; of those that differ only in what is given otherwise, the first."""
    found: dict[str, Mapping[str, Any]] = {}
    for point in points:
        if "model" in given and point.get("model", given["model"]) != given["model"]:
            continue
        free = {k: v for k, v in point.items() if k not in given}
        found.setdefault(repr(sorted(free.items())), point)
    return tuple(found.values())


def _mapping(value: Any, key: str) -> dict[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise FmlabError(f"{key} must be a mapping of overrides, got {value!r}")
    return {str(k): v for k, v in (value or {}).items()}


def _installed(space: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The space without the plugins that are not there, where `installed: true` says so; and these, `model ngcf`."""
    usable, left_out = dict(space), []
    for key, spec in space.items():
        cases = []
        for case in spec if isinstance(spec, list) else [spec]:
            if isinstance(case, Mapping) and case.get("installed") is True and isinstance(case.get("choice"), list):
                kept = [v for v in case["choice"] if registry.is_claimed(key, str(v))]
                left_out += [f"{key} {v}" for v in case["choice"] if v not in kept]
                if not kept:
                    raise FmlabError(f"space.{key}: none of {', '.join(map(str, case['choice']))} is installed")
                cases.append({**case, "choice": kept})
            else:
                cases.append(case)
        usable[key] = cases if isinstance(spec, list) else cases[0]
    return usable, tuple(dict.fromkeys(left_out))


def value_of(typed: str) -> Any:
    """A value typed on the command line, as Hydra reads it."""
    try:
        return OverridesParser.create().parse_override(f"key={typed}").value()
    except HydraException:
        return typed


def _named(kind: str, spec: Any, known: Sequence[str]) -> tuple[str, dict[str, Any]]:
    content = {"name": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, Mapping) else {}
    name = content.pop("name", None)
    if name not in known:
        raise FmlabError(f"{kind} must be one of those known, got {spec!r}; {choices(str(name), known)}")
    return str(name), content


def _agree(sweep: Sweep) -> None:
    """Options that need each other, or exclude each other."""
    if sweep.settings.memory_limit is not None:
        bytes_of(sweep.settings.memory_limit, "memory_limit")
    objectives = max(1, len(sweep.metrics))
    if len(sweep.directions) != objectives:
        raise FmlabError(f"direction must be given for each of {objectives} metrics, got {list(sweep.directions)}")
    if objectives > 1 and sweep.pruner != "none":
        raise FmlabError(f"pruning needs one metric, got {list(sweep.metrics)} with pruner {sweep.pruner}")
    if sweep.settings.racing and (objectives > 1 or sweep.settings.seeds):
        got = f"{list(sweep.metrics)} and seeds {list(sweep.settings.seeds)}"
        raise FmlabError(f"racing needs one metric and trials of one seed, got {got}")
    if objectives > 1 and sweep.settings.ensemble:
        raise FmlabError(f"an ensemble needs one metric, got {list(sweep.metrics)}")
    if objectives > 1 and sweep.settings.refit_seeds:
        raise FmlabError(f"refit_seeds needs one metric to tell the best point, got {list(sweep.metrics)}")
    if objectives > 1 and sweep.sampler == "cmaes":
        raise FmlabError("sampler cmaes needs one metric; tpe, gp, nsgaii, qmc, random and grid take several")
    if sweep.pruner == "wilcoxon" and len(sweep.settings.seeds) < 2:
        raise FmlabError(f"pruner wilcoxon compares seeds and needs several, got seeds {list(sweep.settings.seeds)}")
    if sweep.sampler == "qmc" and any(p.when for p in sweep.space.parameters):
        raise FmlabError("sampler qmc needs a space without `when`; tpe and random take conditions")
    if sweep.sampler == "grid" and sweep.settings.n_trials is not None:
        raise FmlabError(
            f"a grid runs each of its {sweep.space.size()} points; n_trials must be null with sampler grid"
        )
    if sweep.total is None and sweep.budget is None:
        raise FmlabError("a sweep must end: give n_trials, or a budget such as 20m, or sampler grid")
    names = {p.key for p in sweep.space.parameters}
    for point in sweep.initial_points:
        for key in point:
            if key not in names and key not in sweep.given:
                raise FmlabError(f"initial_points: {key} is not searched; {choices(key, names)}")
    for _ in sweep.space.branches():
        pass


def seconds(budget: str | float) -> float:
    """`90`, `90s`, `20m`, `6h` or `2d` in seconds; raises FmlabError."""
    return durations.seconds(budget, "budget")


def check_options(kind: str, name: str, constructor: Any, options: Mapping[str, Any]) -> None:
    """Whether `constructor` takes the options; raises FmlabError."""
    known = [p for p in inspect.signature(constructor).parameters if p not in ("self", "seed")]
    for key in options:
        if key not in known:
            raise FmlabError(f"{kind}.{key} is not an option of {name}; {choices(str(key), known)}")
