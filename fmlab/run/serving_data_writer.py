"""The file of a run folder that holds what serving needs of the data."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fmlab.data.model_inputs import inputs_of_model
from fmlab.errors import DataError
from fmlab.evaluation.output_transform import output_transform_of
from fmlab.records.folder import RunFolder
from fmlab.records.shared_files import write_shared
from fmlab.run.building import BuiltRun
from fmlab.run.derived_task import OPTIONS
from fmlab.run.run_opening import OpenedRun, with_refit_rows
from fmlab.run.serving_data import ServingData
from fmlab.run.serving_file import packed
from fmlab.run.task_opening import reuse, task_key
from fmlab.training.distributed import is_first_process

log = logging.getLogger("fmlab")


def write_serving_data(config: Mapping[str, Any], opened: OpenedRun, built: BuiltRun, folder: RunFolder) -> None:
    """Write what serving needs of the data, or log why it cannot be; the first process alone does."""
    if not is_first_process():
        return
    dataset, task, derived = opened.dataset, opened.base_task, opened.derived
    log_odds, scale = bool(getattr(built.learner.loss, "log_odds", False)), output_transform_of(built.model)
    names = inputs_of_model(built.model)

    def content() -> bytes:
        return packed(
            ServingData.of(dataset, with_refit_rows(task), scale=scale, log_odds=log_odds, derived=derived, names=names)
        )

    fields = [config.get(n) for n in OPTIONS]
    key = repr((task_key(config, dataset), len(task.training.rows), scale, log_odds, *names, *fields))
    try:
        made = reuse("serving", key, content)
    except DataError as error:
        log.warning("this run cannot be used by predict, recommend and export: %s", error)
        return
    write_shared(folder.serving, made, Path(config["cache_dir"]))
