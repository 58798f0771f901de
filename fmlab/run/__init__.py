"""One run: a composed config becomes a trained, selected and tested model in a run folder.

`opening` gives the data set and the task, `building` all parts, `experiment` fits, selects and judges. What a run
leaves is `record`, `serving_data` in its `serving_file`, and the files of `fmlab.records.folder`; `loading` and
`locate` read it again.
"""

from fmlab.run.building import assemble
from fmlab.run.experiment import run
from fmlab.run.judge_file import evaluate_file
from fmlab.run.loading import build_model, load_model
from fmlab.run.opening import open_task

__all__ = ["assemble", "build_model", "evaluate_file", "load_model", "open_task", "run"]
