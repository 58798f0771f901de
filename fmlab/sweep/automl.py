"""The search over all models: which suit the data and the protocol, and where their options are searched.

`auto` in a sweep file holds: `options`, where an option of that name is searched in every model that has it;
`initial_values`, which the first trial of each model takes besides the paper's; `priority`, the models that are tried
first; `rows`, how many training rows an epoch goes through at most, so that on large data too a trial is soon compared;
`steps`, how many steps an epoch has at least, for which batches are smaller on small data;
`portfolio`, whether points that did well before are tried first; `presets`, how much a search takes, by name. A model
says it better by a literal class attribute beside its signature, `space = {"layers": {"int": [1, 3]}}`, in the words of
a sweep's `space`. So a model takes part by being installed.

`small` holds where the search is for small models, as `max_parameters` bounds them or `parameters` or `bytes` are a
metric: `options` in place of those above, a `space` of tables, and `tables`, overrides that store less, the best first.
"""

import logging
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

from fmlab.automl.portfolio import entries, excluded_models, kind_of, long_last, suited
from fmlab.contracts import Task
from fmlab.data.kept_fields import repeating_fields
from fmlab.errors import FmlabError, choices
from fmlab.plugin import registry
from fmlab.plugin.renames import NewName, new_value
from fmlab.run.loading import FULL
from fmlab.run.task_opening import open_task
from fmlab.sweep.model_domains import admit, applies, cases_of, inside, listed, options_of, within
from fmlab.sweep.partial_epochs import part_of_rows, whole_passes
from fmlab.sweep.small_models import Sizes, bounded, change, made_small, table_cases
from fmlab.sweep.spec import of_now, seconds, value_of
from fmlab.sweep.suitable_models import DENSE, RANKING, Fit, is_own, partners, suitable

log = logging.getLogger("fmlab")
_KEYS = ("options", "initial_values", "priority", "rows", "steps", "portfolio", "presets", "small")
_FORMER = {"start": NewName("initial_values", {}), "front": NewName("priority", {})}
BATCH = 16  # rows of a batch, however small the data are
_OF_STEPS = ("batch_size", "scheduler", "trainer.max_epochs", "trainer.patience")  # what only training by gradients has


def expand(
    raw: Mapping[str, Any],
    config: Mapping[str, Any],
    left_out: MutableMapping[str, str] | None = None,
    typed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A sweep with `auto` as one with an explicit space and first points; `config`: the composed config of a run.

    `left_out` is filled with the models that do not take part, and why. `typed`: overrides of the user, which win.
    Raises FmlabError if no installed model can be trained on the data under the protocol.
    """
    raw, auto = of_now(raw), _auto_of_now(raw.get("auto") or {})
    for key in auto:
        if key not in _KEYS:
            raise FmlabError(f"auto.{key} is not an option; {choices(str(key), _KEYS)}")
    task = open_task(config)
    preset = _preset(raw, auto)
    excluded = excluded_models(raw.get("exclude_models") or ())
    usual = entries(kind_of(task), excluded) if auto.get("portfolio") else []
    repeating = kind_of(task) != "ranking" and bool(repeating_fields(task.dataset, task.training.rows))
    usual = [e for e in usual if repeating or "ignored_fields" not in e.point or not e.point["ignored_fields"]]
    tried_before = usual[: preset.get("portfolio")]
    some = None if preset.get("all_models", True) else {str(e.point["model"]) for e in tried_before}
    fits, why = suitable(task, config, some, excluded)
    small = _Small.of(raw, auto, Sizes(config, task, {k: value_of(v) for k, v in (typed or {}).items()}))
    usual_options = {**(auto.get("options") or {}), **(small.options if small else {})}
    if small is not None:
        small.leave_out(fits, why, usual_options)
    if left_out is not None:
        left_out.update(why)
    front = [m for m in auto.get("priority") or () if m in fits]
    models = [*front, *sorted((m for m in fits if m not in front), key=is_own)]
    searched = {m: options_of(m, usual_options) for m in models}
    known = [suited(e.point, task) for e in tried_before if e.point["model"] in fits]
    admit(searched, known)
    own: dict[str, Any] = {"model": {"choice": models}, **cases_of(searched), **partners(fits, task)}
    if any("target_statistics" in point for point in known):
        own["target_statistics"] = {"choice": [[], "auto"]}
    if repeating and any("ignored_fields" in point for point in known):
        own["ignored_fields"] = {"choice": [[], "auto"]}
    absent = [group for group in ("loss", "optimizer") if not own.get(group)]  # no model of the search takes one
    if small is not None:
        own |= small.tables_of(models, task)
    space = {**own, **{k: v for k, v in (raw.get("space") or {}).items() if k.partition(".")[0] not in absent}}
    start = auto.get("initial_values") or {}
    again = [
        within({**_start(p["model"], searched[p["model"]], fits[p["model"]], space), **start, **_decays(p), **p}, space)
        for p in known
    ]
    fresh = models if preset.get("all_models", True) else [m for m in models if m not in {p["model"] for p in known}]
    first = [*again, *({**_start(m, searched[m], fits[m], space), **start} for m in fresh)]
    if small is not None:
        first = small.points([_whole(p, space) for p in first], searched)
        space |= {k: v for k, v in cases_of(small.domains(searched)).items() if k not in (raw.get("space") or {})}
    kept = {k: v for k, v in raw.items() if k not in ("auto", "preset", "exclude_models")}
    for key, value in preset.items():
        if key not in ("portfolio", "all_models") and kept.get(key) is None:
            kept[key] = value
    fixed = dict(kept.get("fixed") or {})
    if "scheduler" in fixed:
        space["scheduler"] = {"const": fixed.pop("scheduler")}
        kept["fixed"] = fixed
    when = {"model": [m for m in models if fits[m].optimizer]}  # models that gradients do not train have no steps
    if not when["model"]:
        space = {k: v for k, v in space.items() if k not in _OF_STEPS}
        first = [{k: v for k, v in p.items() if k not in _OF_STEPS} for p in first]
    elif when["model"] != models:
        whole = [k for k in ("batch_size", "scheduler") if isinstance(space.get(k), Mapping) and "when" not in space[k]]
        space |= {k: {**space[k], "when": when} for k in whole}
    if kept.get("budget") is not None and kept.get("trial_time_fraction") is not None:
        first = long_last(first, task, seconds(kept["budget"]) * float(kept["trial_time_fraction"]))
    first = _smaller_batches(space, first, auto, len(task.training.rows))
    part = part_of_rows(raw, auto, task)
    space, first = whole_passes(space, first, part)
    points = [*(raw.get("initial_points") or ()), *first]
    return {**kept, "space": space, "initial_points": points, "train_fraction": part}


class _Small(NamedTuple):
    """What is different where the search is for small models.

    `most`: parameters that one may have, None for any. `counted`: whether models are compared by them.
    """

    options: Mapping[str, Any]
    space: Mapping[str, Any]
    tables: Sequence[Mapping[str, Any]]
    most: int | None
    counted: bool
    sizes: Sizes

    @classmethod
    def of(cls, raw: Mapping[str, Any], auto: Mapping[str, Any], sizes: Sizes) -> "_Small | None":
        """None where the size of a model is neither bounded nor an objective."""
        most, metrics = raw.get("max_parameters"), listed(raw.get("metric"))
        counted = most is not None or "parameters" in metrics
        if not counted and "bytes" not in metrics:
            return None
        small = auto.get("small") or {}
        parts = small.get("options") or {}, small.get("space") or {}, small.get("tables") or ()
        return cls(*parts, most, counted, sizes)

    @property
    def usable(self) -> Sequence[Mapping[str, Any]]:
        """Overrides that store less, none where the table is typed."""
        return () if "table" in self.sizes.typed else self.tables

    def leave_out(self, fits: dict[str, Fit], why: dict[str, str], options: Mapping[str, Any]) -> None:
        """Take models out that have no parameters to count, or too many of them whatever their options are."""
        for model, fit in list(fits.items()):
            reason = "" if fit.trains or not self.counted else "it has no parameters, by which sizes are compared"
            if not reason and self.most is not None:
                least = bounded(model, options_of(model, options), self.sizes, self.most, self.usable)[1]
                if least is not None:
                    reason = f"it has {least:,} parameters at least, more than max_parameters={self.most:,}"
            if reason:
                why[model] = reason
                del fits[model]
        if not fits:
            reasons = "; ".join(f"{model}: {why[model]}" for model in [*why][-3:])
            raise FmlabError(f"max_parameters must leave a model, got {self.most}: {reasons}")

    def tables_of(self, models: Sequence[str], task: Task) -> dict[str, Any]:
        """The part of the space that says how embeddings are stored, for the models that can be told."""
        kinds = (self.space.get("table") or {}).get("choice") or ()
        cases = table_cases(models, task.dataset.schema, [t for t in kinds if registry.is_claimed("table", t)])
        if not cases:
            return {k: v for k, v in self.space.items() if k.partition(".")[0] != "table"}
        return {**self.space, "table": cases}

    def points(
        self, points: Sequence[dict[str, Any]], searched: Mapping[str, Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Those that are small enough, or can be made so, which the log says; equal ones once."""
        if self.most is None:
            return list(points)
        found = []
        for point in points:
            model, tables = point["model"], self.usable if "table" in point else ()
            made, before, after = made_small(point, searched[model], self.sizes, self.most, tables)
            if made is None:
                log.warning(
                    f"max_parameters={self.most:,}: a starting point of {model} with {before:,} parameters is left "
                    f"out, {after:,} are the least that its options reach"
                )
            elif after < before:
                log.info(
                    f"max_parameters={self.most:,}: {model} starts with {after:,} parameters in place of {before:,}: "
                    f"{change(point, made)}"
                )
            if made is not None and made not in found:
                found.append(made)
        return found

    def domains(self, searched: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Options of each model without values that are never small enough."""
        if self.most is None:
            return dict(searched)
        most, tables = self.most, self.usable
        return {m: bounded(m, of, self.sizes, most, tables)[0] for m, of in searched.items()}


def _decays(point: Mapping[str, Any]) -> dict[str, Any]:
    """The decay of tables that a point means by its `weight_decay`, as a run does, and not the initial value."""
    named = "optimizer.weight_decay"
    return {"optimizer.embedding_decay": point[named]} if named in point else {}


def _whole(point: dict[str, Any], space: Mapping[str, Any]) -> dict[str, Any]:
    """A first point with whole tables, where the search has others."""
    takes = any(applies(case, point) for case in listed(space.get("table")))
    return {"table": FULL, **point} if takes else point


def _smaller_batches(
    space: dict[str, Any], points: Sequence[dict[str, Any]], auto: Mapping[str, Any], rows: int
) -> list[dict[str, Any]]:
    """The points with batches of which an epoch has `auto.steps`, and these in the space: powers of two, `BATCH` at
    least."""
    steps, batches = auto.get("steps"), space.get("batch_size")
    if steps is not None and (not isinstance(steps, int) or isinstance(steps, bool) or steps < 1):
        raise FmlabError(f"auto.steps must be a whole number of steps, got {steps!r}")
    if steps is None or not isinstance(batches, Mapping) or "choice" not in batches:
        return list(points)
    most = max(BATCH, 1 << max(0, (rows // steps).bit_length() - 1))
    space["batch_size"] = {**batches, "choice": list(dict.fromkeys(min(n, most) for n in batches["choice"]))}
    return [{**p, "batch_size": min(p["batch_size"], most)} if "batch_size" in p else p for p in points]


def _auto_of_now(auto: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `auto` by their names of today."""
    return {
        _FORMER[k].name if k in _FORMER else k: new_value("auto", k, _FORMER[k], v) if k in _FORMER else v
        for k, v in auto.items()
    }


def _preset(raw: Mapping[str, Any], auto: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the preset that is asked for: `portfolio`, how many of its points are tried; `all_models`, or
    those of the portfolio and of other packages; and options of the sweep that hold where nothing else is said."""
    presets, wanted = auto.get("presets") or {}, raw.get("preset")
    if wanted is None and not presets:
        return {}
    name = wanted or next(iter(presets))
    if name not in presets:
        raise FmlabError(f"preset must be one of those of the sweep, got {name!r}; {choices(str(name), presets)}")
    return dict(presets[name])


def _start(model: str, searched: Mapping[str, Any], fit: Fit, space: Mapping[str, Any]) -> dict[str, Any]:
    """The model as its paper sets it, within the domains."""
    defaults = {o.name: o.default for o in registry.schema("model", model).options}
    point: dict[str, Any] = {"model": model}
    for name, spec in searched.items():
        point[f"model.{name}"] = inside(spec, defaults[name])
    loss, optimizer = fit.loss, fit.optimizer
    if optimizer in DENSE:
        point["optimizer"] = optimizer
    if loss in RANKING:
        point["loss"] = loss
    options = registry.schema("optimizer", optimizer).options if optimizer else ()
    rate = next((o.default for o in options if o.name == "lr"), None)
    domain = next((c for c in listed(space.get("optimizer.lr")) if optimizer in listed(_when(c))), None)
    if domain is not None and isinstance(rate, int | float):
        point["optimizer.lr"] = inside(domain, rate)
    return {k: v for k, v in point.items() if v is not None}


def _when(case: Mapping[str, Any]) -> Any:
    return (case.get("when") or {}).get("optimizer")
