"""After the search: what it announces is trained anew on training and validation rows, as long as it was before."""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from fmlab.automl.ensemble import FOLDER
from fmlab.automl.refit_ensemble import refit_ensemble
from fmlab.config.schema import BOTH
from fmlab.contracts import Task
from fmlab.files import write_json
from fmlab.records.folder import BEST, CHECKPOINTS, ENSEMBLE, REFIT, RESULTS
from fmlab.serving.ensemble import read_weights
from fmlab.sweep.budget import BASE, START, Budget, refit_seconds, seconds_of
from fmlab.sweep.coordinator import Coordinator
from fmlab.sweep.messages import Job, SweepFailed, trial_folder
from fmlab.sweep.spec import Sweep, read
from fmlab.sweep.storage import open_storage
from fmlab.sweep.study import Study
from fmlab.sweep.summary import best_trials

log = logging.getLogger("fmlab")
MEMBER = "refit_of"
JUDGED = 1.2  # times what judging the members took, that judging their sum may take


def withdraw(folder: Path) -> None:
    """What was trained anew on all rows is announced no longer: something else was chosen."""
    shutil.rmtree(folder / REFIT / FOLDER, ignore_errors=True)
    _note(folder / REFIT / RESULTS, announced=None)


def refit_rows(sweep: Sweep, job: Job, workers: int, budget: Budget, task: Task) -> None:
    """Train anew the members of the ensemble, or the best trial where there is none, and announce the result.

    `task`: with the rows of the refit. Members are trained in the order of their weights, as many as there is time for
    by what their trials took; the others stay as they are. Raises StorageError, KeyboardInterrupt.
    """
    folder, growth = Path(job.folder), budget.growth or 1.0
    trials = {t.number: t for t in Study.open(open_storage(job.storage), sweep.study).trials(TrialState.COMPLETE)}
    weights = _announced(sweep, folder, list(trials.values()))
    known = _finished(sweep, job)
    left = budget.left()
    if left is not None:
        left -= BASE + START * budget.start
    if left is not None and len(weights) > 1:
        left -= JUDGED * sum(seconds_of(trials[n], "judged") for n in weights)
    costs = {n: 0.0 if n in known else refit_seconds(trials[n], growth) for n in weights}
    chosen = affordable(weights, costs, workers, left)
    whole = f"{len(weights)} members" if len(weights) > 1 else f"trial {next(iter(weights))}"
    if not chosen:
        log.warning(f"no refit: there is no time to train {whole} anew on training and validation rows")
        return
    seconds = max(costs.values()) if workers > 1 else sum(costs.values())
    log.info(f"refit on training and validation rows of {len(chosen)} of {whole}, about {seconds:.0f} s or more")
    _train(sweep, job, workers, Budget(None if left is None else left + START * budget.start, hard=True), chosen)
    done = {n: place for n, place in _finished(sweep, job).items() if n in weights}
    facts: dict[str, Any] = {"refit_on": BOTH, "members": len(weights), "refitted": sorted(done)}
    if not done:
        log.warning("no refit: no training on training and validation rows was finished in time")
    elif len(weights) > 1:
        refit_ensemble(folder, {f"{n:04d}": place for n, place in done.items()}, task)
    else:
        _note(folder / REFIT / RESULTS, announced=int(done[next(iter(weights))].name))
    _note(folder / RESULTS, **facts)


def affordable(weights: Mapping[int, float], costs: Mapping[int, float], workers: int, left: float | None) -> list[int]:
    """Members in the order of their weights, without those that would not be ready in the `left` seconds."""
    busy, found = np.zeros(workers), []
    for number in sorted(weights, key=lambda n: (-weights[n], n)):
        first = int(np.argmin(busy))
        if left is None or busy[first] + costs[number] <= left:
            busy[first] += costs[number]
            found.append(number)
    return found


def _announced(sweep: Sweep, folder: Path, trials: Sequence[FrozenTrial]) -> dict[int, float]:
    """Trials that the result of the search is made of, with their weights."""
    path = folder / FOLDER / ENSEMBLE
    if sweep.settings.ensemble and path.is_file():
        record = json.loads((folder / FOLDER / "metrics.json").read_text("utf-8"))
        return {int(name): float(record["members"][name]["weight"]) for name in read_weights(path).weights}
    return {best_trials(sweep, trials)[0].number: 1.0}


def _finished(sweep: Sweep, job: Job) -> dict[int, Path]:
    """Folders of the trials that are trained anew, by the number of the trial of the search."""
    try:
        study = Study.open(open_storage(job.storage), _name(sweep))
    except KeyError:
        return {}
    found = {int(t.params[MEMBER]): trial_folder(_place(job), t.number) for t in study.trials(TrialState.COMPLETE)}
    return {n: place for n, place in found.items() if (place / CHECKPOINTS / BEST).is_file()}


def _train(sweep: Sweep, job: Job, workers: int, budget: Budget, chosen: Sequence[int]) -> None:
    raw = {
        "sampler": "grid",
        "study": _name(sweep),
        "metric": list(sweep.metrics),
        "direction": list(sweep.directions),
        "heartbeat": sweep.settings.heartbeat,
        "retries": sweep.settings.retries,
        "allow_space_change": True,  # later calls may announce other members
        "space": {MEMBER: {"choice": list(chosen)}},
    }
    again = Job(
        **{
            **asdict(job),
            "raw": raw,
            "command_wins": False,
            "folder": str(_place(job)),
            "objective": "fmlab.sweep.objective:RefitObjective",
            "keeps_scores": False,
        }
    )
    try:
        Coordinator(read(sweep.name, raw), again, workers=min(workers, len(chosen)), budget=budget).run()
    except SweepFailed as error:  # those that did not work stay as they were
        log.warning(str(error))


def _name(sweep: Sweep) -> str:
    return f"{sweep.study}/{REFIT}"


def _place(job: Job) -> Path:
    return Path(job.folder) / REFIT


def _note(path: Path, **facts: Any) -> None:
    """Add facts to a file of results, or take those away that are None; nothing where there is none."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return
    write_json(path, {k: v for k, v in {**content, **facts}.items() if k not in facts or v is not None})
