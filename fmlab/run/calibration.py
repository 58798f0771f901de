"""Calibration of a run: fitted on the validation after training, kept in the run folder, used in the test."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from fmlab.contracts import Task
from fmlab.errors import FmlabError
from fmlab.evaluation import ScoredRows
from fmlab.evaluation.probability_calibration import Calibration, Platt, set_calibration
from fmlab.files import write_json
from fmlab.records.folder import RunFolder
from fmlab.training.distributed import is_first_process
from fmlab.training.evaluation_module import Predictions

log = logging.getLogger("fmlab")


def check_calibration(config: Mapping[str, Any], task: Task, loss: Any) -> None:
    """Raise FmlabError where probabilities cannot be calibrated, before anything is trained."""
    if config["calibrate"] == "none":
        return
    if not isinstance(task.validation, ScoredRows) or task.training.negatives:
        raise FmlabError(
            f"calibrate={config['calibrate']} needs a protocol that trains on labeled rows and scores them, such as "
            "protocol=ctr; got one that ranks items"
        )
    if not getattr(loss, "log_odds", False):
        got = config["loss"]["name"] if "loss" in config else f"model={config['model']['name']}, which has no loss"
        raise FmlabError(
            f"calibrate={config['calibrate']} needs a loss that takes scores for log-odds, such as bce; got {got}"
        )
    if task.refit is not None:
        raise FmlabError("calibrate needs validation rows that are not trained on: set protocol.refit=false, or none")


def calibrate(
    config: Mapping[str, Any], task: Task, model: nn.Module, predictions: Predictions, folder: RunFolder
) -> dict[str, Any]:
    """Fit on the predictions of the validation rows, in every process alike; what the record says of it."""
    if config["calibrate"] == "none":
        if is_first_process():
            folder.calibration.unlink(missing_ok=True)  # of a run that this one resumes
        return {}
    assert isinstance(task.validation, ScoredRows)
    unit, first = np.unique(predictions.unit, return_index=True)
    weight = task.dataset.weight
    rows = None if weight is None else np.asarray(weight, np.float64)[task.validation.rows[unit]]
    found = Calibration.fit(
        config["calibrate"], {name: column[first] for name, column in predictions.columns.items()}, rows
    )
    for target, one in found.maps.items():
        if isinstance(one, Platt) and one.slope <= 0:
            of_target = f" of {target}" if target else ""
            log.warning(
                "calibration turns the order%s around: scores fall where labels rise on the validation", of_target
            )
    set_calibration(model, found)
    if is_first_process():
        write_json(folder.calibration, found.to_dict())
    log.info("probabilities are calibrated: %s, fitted on %s validation rows", found.method, f"{found.rows:,}")
    return {"calibration": {"method": found.method, "rows": found.rows}}
