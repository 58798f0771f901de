"""Calibration of a run: fitted on the validation after training, kept in the run folder, used in the test."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from fmlab.contracts import Task
from fmlab.errors import FmlabError
from fmlab.evaluation import ScoredRows
from fmlab.evaluation.probability_calibration import Calibration, Platt, set_calibration
from fmlab.files import write_json
from fmlab.records.folder import RunFolder
from fmlab.run.building import Parts
from fmlab.training.distributed import is_first_process

log = logging.getLogger("fmlab")


def check_calibration(plain: Mapping[str, Any], task: Task, loss: Any) -> None:
    """Raise FmlabError where probabilities cannot be calibrated, before anything is trained."""
    if plain["calibrate"] == "none":
        return
    if not isinstance(task.validation, ScoredRows) or task.training.negatives:
        raise FmlabError(
            f"calibrate={plain['calibrate']} needs a protocol that trains on labeled rows and scores them, such as "
            "protocol=ctr; got one that ranks items"
        )
    if not getattr(loss, "log_odds", False):
        got = plain["loss"]["name"] if "loss" in plain else f"model={plain['model']['name']}, which has no loss"
        raise FmlabError(
            f"calibrate={plain['calibrate']} needs a loss that takes scores for log-odds, such as bce; got {got}"
        )
    if task.refit is not None:
        raise FmlabError("calibrate needs validation rows that are not trained on: set protocol.refit=false, or none")


def calibrate(plain: Mapping[str, Any], task: Task, parts: Parts, place: RunFolder) -> dict[str, Any]:
    """Fit on what the validation has just scored, in every process alike; what the record says of it."""
    if plain["calibrate"] == "none":
        if is_first_process():
            place.calibration.unlink(missing_ok=True)  # of a run that this one resumes
        return {}
    assert isinstance(task.validation, ScoredRows)
    assert parts.learner.judged is not None
    unit, columns = parts.learner.judged
    unit, first = np.unique(unit, return_index=True)
    weight = task.dataset.weight
    rows = None if weight is None else np.asarray(weight, np.float64)[task.validation.rows[unit]]
    found = Calibration.fit(plain["calibrate"], {name: column[first] for name, column in columns.items()}, rows)
    for target, one in found.maps.items():
        if isinstance(one, Platt) and one.slope <= 0:
            of_target = f" of {target}" if target else ""
            log.warning(
                "calibration turns the order%s around: scores fall where labels rise on the validation", of_target
            )
    set_calibration(parts.model, found)
    if is_first_process():
        write_json(place.calibration, found.to_dict())
    log.info("probabilities are calibrated: %s, fitted on %s validation rows", found.method, f"{found.rows:,}")
    return {"calibration": {"method": found.method, "rows": found.rows}}
