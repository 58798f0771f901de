"""From a composed multirun to a running sweep: what was typed, what the file says, how many workers, which folder."""

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.trial import TrialState

from fmlab.config.messages import explain
from fmlab.config.overrides import override
from fmlab.config.schema import BOTH, sweep_options
from fmlab.config.suggestions import is_former
from fmlab.errors import FmlabError
from fmlab.files import bytes_of, write_text
from fmlab.plugin import registry
from fmlab.records.folder import remove_drafts_of_trials
from fmlab.sweep.budget import ENSEMBLE, REFIT, Budget
from fmlab.sweep.coordinator import Coordinator
from fmlab.sweep.messages import COSTS, Job, SweepFailed
from fmlab.sweep.spec import Sweep, of_now, read
from fmlab.sweep.storage import locate, open_storage
from fmlab.sweep.study import Study
from fmlab.sweep.trial_overrides import lasting_overrides
from fmlab.sweep.validation import check_points
from fmlab.terminal.elapsed import elapsed

if TYPE_CHECKING:
    from fmlab.contracts import Task

log = logging.getLogger("fmlab")
_ONE_METRIC: Mapping[str, Any] = {"pruner": "none", "racing": False, "ensemble": False, "refit_seeds": []}
_WORKER = 1_000_000_000  # bytes of memory that a worker is given at least
_SINGLE = 8  # workers of one core each, before workers get two: steps of these models are too small to share


def run_sweep(config: DictConfig, context: HydraContext, arguments: Sequence[str]) -> None:
    """Run the sweep in `config.hydra.sweeper`; raises FmlabError, SweepFailed when trials failed."""
    job_name, loader = str(config.hydra.job.config_name), context.config_loader

    def compose(overrides: list[str]) -> DictConfig:
        return loader.load_configuration(job_name, overrides, RunMode.RUN)

    _refuse_launcher(config)
    name, raw = _options(config)
    typed = typed_overrides(arguments)
    asked = "refit_on" in typed or "protocol.refit" in typed
    both = _refits(config, raw, typed)
    command = {key: line.partition("=")[2] for key, line in typed.items()}
    left_out: dict[str, str] = {}
    searches_models = bool(raw.get("auto"))
    if searches_models:
        from fmlab.sweep.automl import expand

        raw = expand(raw, _plain(compose(_early(raw, typed))), left_out, command)
    sweep = read(name, raw, command)
    workers, threads = share_cores(sweep)
    lasting = lasting_overrides(sweep, list(typed.values()), threads)
    raw |= {**_objective(sweep, lambda: str(compose(lasting).protocol.monitor)), "workers": workers}
    sweep = read(name, raw, command)
    for plugin in sweep.left_out:
        log.warning(f"sweep {name}: {plugin} is not installed and is left out")
    for line in sweep.space.unreached():
        log.warning(f"sweep {name}: {line}")
    check_points(sweep, lasting, compose)
    folder = Path(sweep.settings.folder or Path(config.hydra.sweep.dir).parent / sweep.study).absolute()
    _announce(sweep, folder, left_out)
    job = Job(
        name=name,
        raw=raw,
        command=command,
        overrides=lasting,
        storage=locate(sweep.settings.storage, folder),
        folder=str(folder),
        config_name=job_name,
        search_path=[(s.provider, s.path) for s in loader.get_search_path().get_path()],
        threads=threads,
        keeps_scores=sweep.settings.ensemble,
    )
    remove_drafts_of_trials(folder)
    budget = Budget(sweep.budget, elapsed())
    again = _open_both(sweep, compose(lasting), budget, asked=asked) if both else None
    if not sweep.settings.refit_seeds and not sweep.settings.ensemble and again is None:
        Coordinator(sweep, job, workers=workers, budget=budget).run()
        if searches_models and len(sweep.metrics) > 1:  # the front is the result
            from fmlab.report.terminal import print_leaderboards

            print_leaderboards(folder)
        return
    try:
        Coordinator(sweep, job, workers=workers, budget=budget).run()
    except SweepFailed as error:  # some points did not work; the best of the others is what was asked for
        log.warning(str(error))
    _after_search(sweep, job, workers, budget, compose(lasting), again)


def _after_search(
    sweep: Sweep, job: Job, workers: int, budget: Budget, config: DictConfig, refit_task: "Task | None"
) -> None:
    """The ensemble, the refits and the leaderboard of a search; raises SweepFailed where no trial was finished.

    `config`: that of a run of the sweep. `refit_task`: the task with training and validation rows to train on, or None.
    """
    from fmlab.report.terminal import print_leaderboards

    folder = Path(job.folder)
    if not Study.open(open_storage(job.storage), sweep.study).trials(TrialState.COMPLETE):
        raise SweepFailed(
            f"no trial of sweep {sweep.name} was finished: give it more time; {folder / 'workers'} has logs"
        )
    searched = elapsed()
    if sweep.settings.ensemble:
        _ensemble(sweep, folder, config, budget)
    from fmlab.sweep.refit_rows import refit_rows, withdraw

    withdraw(folder)
    if sweep.settings.refit_seeds:
        from fmlab.sweep.refit import refit

        refit(sweep, job, workers, budget, both=refit_task is not None)
    if refit_task is not None and (sweep.settings.ensemble or not sweep.settings.refit_seeds):
        refit_rows(sweep, job, workers, budget, refit_task)
    print_leaderboards(folder, best=True)
    limit = "" if sweep.budget is None else f" of {sweep.budget:.0f} s"
    log.info(f"it took {elapsed():.0f} s{limit}: the search {searched:.0f} s, what came after it the rest")


def _refits(config: DictConfig, raw: dict[str, Any], typed: dict[str, str]) -> bool:
    """Whether what is announced is trained anew on training and validation rows; trials themselves are not.

    The option is taken out of what holds for every trial, which `raw` and `typed` say. Of a protocol that has a refit
    of its own, it means the same where an ensemble of the trials is made.
    """
    of_file = (raw.get("fixed") or {}).pop("refit_on", "train")
    wanted = {str(config.refit_on)} if typed.pop("refit_on", None) else {str(config.refit_on), str(of_file)}
    if "refit_on" in config and config.refit_on != "train":
        raw["fixed"]["refit_on"] = "train"
    if raw.get("ensemble") and config.protocol.get("refit"):
        wanted.add(BOTH)
        raw["fixed"].pop("protocol.refit", None)
        typed["protocol.refit"] = "protocol.refit=false"
    return BOTH in wanted


def _open_both(sweep: Sweep, config: DictConfig, budget: Budget, *, asked: bool) -> "Task | None":
    """The task with the rows of the refit, for which time is kept back.

    Where there can be none it raises FmlabError if the refit was `asked` for; else it says so, and there is none.
    """
    from fmlab.run.task_opening import open_task

    try:
        if sweep.settings.seeds or len(sweep.metrics) > 1:
            raise FmlabError(
                f"refit_on={BOTH} is of trials with one seed and one metric: leave out seeds, or give refit_seeds"
            )
        task = open_task({**_plain(config), "refit_on": BOTH})
    except FmlabError as error:
        if asked:
            raise
        log.warning(f"the result is trained on training rows alone: {error}")
        return None
    assert task.refit is not None
    budget.growth = len(task.refit) / len(task.training.rows)
    return task


def _plain(config: DictConfig) -> dict[str, Any]:
    """The options of a run."""
    masked = OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"])
    return cast(dict[str, Any], OmegaConf.to_container(masked, resolve=True))


def _ensemble(sweep: Sweep, folder: Path, config: DictConfig, budget: Budget) -> None:
    """Make the ensemble of the trials, unless the size or the speed of a model is bounded."""
    for name in ("max_parameters", "max_latency"):
        if getattr(sweep.settings, name) is not None:
            log.info(f"no ensemble: {name} bounds a single model")
            return
    from fmlab.automl.ensemble import make_ensemble
    from fmlab.run.task_opening import open_task

    left = budget.left()
    if left is not None and budget.growth is not None:  # the rest is for training anew
        left = max(ENSEMBLE * left, left - REFIT * (sweep.budget or 0.0))
    make_ensemble(folder, open_task(_plain(config)), left)


def _announce(sweep: Sweep, folder: Path, left_out: Mapping[str, str]) -> None:
    """Say who takes part in a search over all models."""
    if left_out:
        place, models = folder / "left-out.txt", {p.key: p.domain for p in sweep.space.parameters}.get("model")
        write_text(place, "".join(f"{model}: {reason}\n" for model, reason in left_out.items()))
        taking = f"{len(models.grid())} models take part" if models is not None else "one model takes part"
        log.info(
            f"sweep {sweep.name}: {taking}, {len(left_out)} do not suit the data or the protocol: {place} says why"
        )


def _early(raw: dict[str, Any], typed: Mapping[str, str]) -> list[str]:
    """Overrides of every trial, as far as they are known before the space is."""
    fixed = [override(k, v) for k, v in raw["fixed"].items() if k not in typed]
    return [*fixed, *(line for key, line in typed.items() if key != "model" and not key.startswith("model."))]


def _refuse_launcher(config: DictConfig) -> None:
    launcher = str(config.hydra.runtime.choices.get("hydra/launcher", "basic"))
    if launcher != "basic":
        raise FmlabError(
            f"a sweep starts its own workers, hydra/launcher={launcher} is for a plain multirun; "
            "on further machines start the same command with the same storage"
        )


def _options(config: DictConfig) -> tuple[str, dict[str, Any]]:
    """Name and options of the sweep; what it searches on is always part of it."""
    try:
        raw = cast(dict[str, Any], OmegaConf.to_container(config.hydra.sweeper, resolve=True))
    except OmegaConfBaseException as error:
        raise FmlabError(explain(error)) from error
    typed = {line.partition("=")[0].removeprefix("hydra.sweeper.") for line in config.hydra.overrides.hydra}
    for old, new in [(r.old, o.name) for o in sweep_options() for r in o.renamed]:
        given = not is_former(_unresolved(config.hydra.sweeper, old)) and new not in typed
        raw.pop(new if given else old)
    raw = of_now(raw)
    del raw["_target_"]
    limit = raw.pop("time_limit", None)
    if limit is not None and raw["budget"] is not None:
        raise FmlabError(f"time_limit is another name of budget, got both: {limit} and {raw['budget']}")
    raw["budget"] = raw["budget"] if limit is None else limit
    for key in ("preset", "exclude_models"):
        if (raw.get(key) is None or not raw.get("auto")) and raw.pop(key, None) is not None:
            raise FmlabError(f"{key} is an option of a search over all models, such as sweep=automl")
    raw |= for_several_metrics(raw, typed)
    name = raw.pop("name")
    if not name:
        raise FmlabError("hydra/sweeper=fmlab needs a sweep: sweep=<name>")
    raw["fixed"] = {"data": config.data.name, "protocol": config.protocol.name, **(raw["fixed"] or {})}
    return str(name), raw


def for_several_metrics(raw: Mapping[str, Any], typed: Collection[str]) -> dict[str, Any]:
    """Options in place of those that the file of a search over models has for one metric, where there are more."""
    metric = raw.get("metric")
    if not raw.get("auto") or not isinstance(metric, list | tuple) or len(metric) < 2:
        return {}
    return {k: v for k, v in _ONE_METRIC.items() if k not in typed}


def _unresolved(node: DictConfig, key: str) -> Any:
    found = node._get_node(key)
    return found._value() if isinstance(found, Node) else found


def _objective(sweep: Sweep, monitor: Callable[[], str]) -> dict[str, Any]:
    """Metric and direction where the sweep leaves them open: those the protocol selects by."""
    metrics = sweep.metrics or (monitor(),)
    directions = sweep.directions if sweep.settings.direction else [better(m) for m in metrics]
    return {"metric": list(metrics), "direction": list(directions)}


def better(metric: str) -> str:
    """Which way a metric gets better; raises FmlabError if it is not known."""
    if metric in COSTS:
        return "maximize" if metric == "rows_per_second" else "minimize"
    plugin = metric.removeprefix("sampled_").partition("@")[0]
    try:
        said = registry.schema("metric", plugin).maximize  # from its source: a sweep starts without torch
        return "maximize" if (registry.load("metric", plugin).maximize if said is None else said) else "minimize"
    except (FmlabError, AttributeError) as error:
        raise FmlabError(f"direction must be given for metric {metric}: {error}") from error


def typed_overrides(arguments: Sequence[str]) -> dict[str, str]:
    """The user's overrides by key, `sweep=` left out; raises FmlabError for one that gives several values."""
    found = {}
    for line in OverridesParser.create().parse_overrides(list(arguments)):
        key = line.get_key_element().lstrip("+~")
        if line.is_sweep_override():
            raise FmlabError(f"a sweep takes its space from its file; {key} must have one value, got {line.input_line}")
        if key != "sweep":
            found[key] = str(line.input_line)
    return found


def share_cores(sweep: Sweep) -> tuple[int, int]:
    """Number of workers, and CPU threads of each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = sweep.settings.workers or min(cores, max(_SINGLE, cores // 2))
    if sweep.settings.memory_limit is not None:
        workers = max(1, min(workers, bytes_of(sweep.settings.memory_limit, "memory_limit") // _WORKER))
    return workers, sweep.settings.threads or max(1, cores // workers)
