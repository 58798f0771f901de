"""After the search: the best point again with several seeds, the best checkpoint, and how the models compare."""

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fmlab.config.schema import BOTH
from fmlab.files import storing
from fmlab.records.folder import BEST, CHECKPOINTS, SERVING
from fmlab.records.shared_files import copy_shared
from fmlab.sweep.budget import Budget
from fmlab.sweep.coordinator import Coordinator
from fmlab.sweep.messages import Job
from fmlab.sweep.partial_epochs import on_all_rows
from fmlab.sweep.spec import Sweep, read
from fmlab.sweep.storage import open_storage
from fmlab.sweep.study import Study
from fmlab.sweep.suggest import known_point
from fmlab.sweep.summary import best_trials
from fmlab.sweep.trial_overrides import lasting_overrides

log = logging.getLogger("fmlab")


def refit(sweep: Sweep, job: Job, workers: int, budget: Budget, *, both: bool = False) -> Path | None:
    """Train the best point with `refit_seeds`; leaves `best.ckpt` in the sweep's folder and returns its path.

    Within what is left of the budget: where that is too short, training ends earlier, and its record says so.
    `both`: each seed is trained anew on training and validation rows after that.

    The seeds are a grid of their own beside the study, so that an interrupted refit goes on as well.
    """
    best = best_trials(sweep, Study.open(open_storage(job.storage), sweep.study).trials())
    if not best:
        return None
    again = _sweep(sweep, best[0], both)
    folder = Path(job.folder) / f"refit-{best[0].number:04d}{'-all-rows' if both else ''}"
    overrides = lasting_overrides(again, [f"{k}={v}" for k, v in sweep.command.items()], job.threads)
    task = Job(**{**asdict(job), "raw": _raw(sweep, best[0], both), "overrides": overrides, "folder": str(folder)})
    log.info(
        f"refit of trial {best[0].number} with seeds {', '.join(map(str, sweep.refit_seeds))}"
        f"{_estimate(sweep, best[0], overrides, workers)}"
    )
    Coordinator(again, task, workers=min(workers, len(sweep.refit_seeds)), budget=Budget(budget.left())).run()
    done = best_trials(again, Study.open(open_storage(job.storage), again.study).trials(TrialState.COMPLETE))
    source = Path(done[0].user_attrs["result"]["folder"]) / CHECKPOINTS / BEST if done else None
    if source is None or not source.is_file():
        return None
    target, data = Path(job.folder) / BEST, source.parent.with_name(SERVING)
    if data.is_file():  # what predict, recommend and export need beside it
        copy_shared(data, target.with_name(SERVING))
    with storing(target.parent, needed=source.stat().st_size):
        shutil.copyfile(source, target.with_suffix(".part"))
        target.with_suffix(".part").replace(target)
    log.info(f"best checkpoint: {target}")
    return target


def _estimate(sweep: Sweep, best: FrozenTrial, overrides: Sequence[str], workers: int) -> str:
    """How long it may take at most, by the epochs of the trial; empty where its run does not tell."""
    try:
        found = json.loads((Path(best.user_attrs["result"]["folder"]) / "metrics.json").read_text("utf-8"))
        epoch = float(found["seconds_fit"]) / max(1, int(found["epochs"])) / float(sweep.settings.train_fraction or 1)
        most = next(int(o.partition("=")[2]) for o in overrides if o.startswith("trainer.max_epochs="))
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return ""
    rounds = -(-len(sweep.refit_seeds) // min(workers, len(sweep.refit_seeds)))
    seconds = rounds * most * epoch
    return f": {most} epochs of about {epoch:.1f} s each at most, so up to {seconds / 60:.1f} min"


def _raw(sweep: Sweep, best: FrozenTrial, both: bool = False) -> dict[str, Any]:
    point = on_all_rows(known_point(sweep, best.user_attrs["point"]).overrides, sweep.settings.train_fraction)
    anew = {"refit_on": BOTH} if both else {}
    return {
        "sampler": "grid",
        "study": f"{sweep.study}/refit-{best.number}{'-all-rows' if both else ''}",
        "metric": list(sweep.metrics),
        "direction": list(sweep.directions),
        "heartbeat": sweep.settings.heartbeat,
        "retries": sweep.settings.retries,
        "fixed": {**{k: v for k, v in sweep.given.items() if k not in sweep.command and k != "seed"}, **point, **anew},
        "space": {"seed": {"choice": list(sweep.refit_seeds)}},
    }


def _sweep(sweep: Sweep, best: FrozenTrial, both: bool) -> Sweep:
    return read(sweep.name, _raw(sweep, best, both), {k: v for k, v in sweep.command.items() if k != "seed"})
