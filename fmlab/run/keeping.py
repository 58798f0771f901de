"""What a run leaves in its folder for those who serve its model."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fmlab.contracts import Task
from fmlab.data import Dataset
from fmlab.data.derived_fields import DerivedFields
from fmlab.data.model_inputs import inputs_of_model
from fmlab.errors import DataError
from fmlab.evaluation.label_scale import label_scale_of
from fmlab.records.folder import RunFolder
from fmlab.records.shared_files import write_shared
from fmlab.run.building import Parts
from fmlab.run.derived_task import OPTIONS
from fmlab.run.opened_run import refitted
from fmlab.run.opening import reuse, task_key
from fmlab.run.serving_data import ServingData
from fmlab.run.serving_file import FILE, packed

log = logging.getLogger("fmlab")


def keep_serving_data(
    plain: Mapping[str, Any],
    source: Dataset,
    task: Task,
    derived: DerivedFields | None,
    parts: Parts,
    place: RunFolder,
) -> None:
    """Write what serving needs of the data, or log why it cannot be.

    `source`: before the protocol left out rows; `task`: before `derived` made its rows wider.
    """
    log_odds, scale = bool(getattr(parts.learner.loss, "log_odds", False)), label_scale_of(parts.model)
    names = inputs_of_model(parts.model)

    def content() -> bytes:
        return packed(
            ServingData.of(source, refitted(task), scale=scale, log_odds=log_odds, derived=derived, names=names)
        )

    fields = [plain.get(n) for n in OPTIONS]
    key = repr((task_key(plain, source), len(task.training.rows), scale, log_odds, *names, *fields))
    try:
        made = reuse("serving", key, content)
    except DataError as error:
        log.warning("this run cannot be used by predict, recommend and export: %s", error)
        return
    write_shared(place.path / FILE, made, Path(plain["cache_dir"]))
