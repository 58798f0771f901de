"""One run: a composed config becomes a trained, selected and tested model in a run folder.

`experiment` has the steps in their order: `task_opening` and `run_opening` give the data set and the task, `building`
all parts, `fitting` trains them, `checkpoint_evaluation` validates and tests, `calibration` and `refit` come between,
`results` are written. `run_record_writer` writes metrics.json; `serving_data_writer` writes a `serving_data` with
`serving_file`; `loading` and `locate` read a run folder again.
"""

from fmlab.run.building import assemble
from fmlab.run.experiment import run
from fmlab.run.file_evaluation import evaluate_file
from fmlab.run.loading import build_model, load_model
from fmlab.run.task_opening import open_task

__all__ = ["assemble", "build_model", "evaluate_file", "load_model", "open_task", "run"]
