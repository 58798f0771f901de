"""The evaluation of what another program recommends or scores: a run folder that takes part in reports and tests."""

import logging
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from fmlab.contracts import Evaluator, Report, Task
from fmlab.data import Dataset, dataset_statistics
from fmlab.data.batch import Tables
from fmlab.data.labels import are_zeros_and_ones
from fmlab.errors import DataError
from fmlab.evaluation import RankedLists
from fmlab.evaluation import evaluate as evaluate_scorer
from fmlab.evaluation.audit import audit_of, audited
from fmlab.evaluation.recommendations import Nothing, Recommended, read_table, row_scores
from fmlab.records.folder import RunFolder
from fmlab.run.results import write_case_values
from fmlab.run.run_opening import with_refit_rows
from fmlab.run.run_record_writer import RunRecord
from fmlab.run.task_opening import open_dataset, open_task
from fmlab.training.progress import format_number

log = logging.getLogger("fmlab")


def evaluate_file(
    path: Path | str,
    config: DictConfig,
    *,
    name: str = "",
    folder: Path | None = None,
    validation: Path | str | None = None,
    probabilities: bool | None = None,
) -> Path:
    """Judge a file by the test of the data and the protocol of a composed config; gives the run folder it leaves.

    The file has `user`, `item` and `score` or `rank` where items are ranked (CSV, TSV, Parquet, a TREC run), and `row`
    and `score` where labeled rows are scored; rows are numbered as `fmlab data split` writes them. `name`: what the
    program is called in reports, the stem of the file otherwise. `validation`: its file for the validation, by which
    reports sort. `probabilities`: whether scores are probabilities; None: if all are from 0 to 1. Raises DataError.
    """
    path, options = Path(path), cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    called = name or path.name.partition(".")[0]
    options |= {"model": {"name": called}, "loss": {"name": "none"}, "optimizer": {"name": "none"}}
    now = datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    run_folder = RunFolder(folder or Path("runs", options["data"]["name"], options["protocol"]["name"], called, now))
    dataset = open_dataset(options)
    task = open_task(options, dataset)
    found = audit_of(task, with_refit_rows(task).training.rows)
    task = audited(task, found)
    test = _evaluated(path, task, task.test, probabilities)
    before = None if validation is None else _evaluated(Path(validation), task, task.validation, probabilities)
    with run_folder.locked():
        run_folder.clear_or_refuse(None, "error")
        record = RunRecord(run_folder, options)
        record.update(
            statistics=dataset_statistics.measured(task.dataset),
            published=dataset_statistics.plain_published(task.dataset),
            steps=[vars(s) for s in task.dataset.steps],
            fingerprint=task.dataset.fingerprint,
            protocol_described=dict(task.described),
            judged_file=path.name,
            monitor=task.monitor,
            maximize=task.maximize,
            validation={task.monitor: None} if before is None else dict(before.values),
            test=dict(test.values),
            audit=None
            if found is None
            else {"shares": dict(found.shares), "groups": {k: dict(v) for k, v in test.groups.items()}},
            status="complete",
        )
        write_case_values(run_folder, test)
    log.info("test  " + "  ".join(f"{k} {format_number(v)}" for k, v in test.values.items()))
    return run_folder.path


def evaluate(
    path: Path | str,
    *options: str,
    name: str = "",
    out: Path | str | None = None,
    validation: Path | str | None = None,
    probabilities: bool | None = None,
) -> Path:
    """As `fmlab evaluate` does: judge a file by `options` such as `data=movielens-1m`, `protocol=composed`.

    Gives the run folder, `out` or one below runs/; the rest is that of `evaluate_file`.
    """
    from fmlab.config.composition import compose

    folder = None if out is None else Path(out)
    more: dict[str, Any] = {"name": name, "folder": folder, "validation": validation, "probabilities": probabilities}
    return evaluate_file(path, compose(list(options), os.environ), **more)


def _evaluated(path: Path, task: Task, evaluator: Evaluator, probabilities: bool | None) -> Report:
    """What the evaluator of a part says of a file."""
    frame, data = read_table(path), task.dataset
    if isinstance(getattr(evaluator, "inner", evaluator), RankedLists):
        scorer = Recommended(frame, path, data)
        if scorer.unknown:
            log.warning("%s: %s of %s rows name a user or item that the data do not have", path, *_counts(scorer))
        return evaluate_scorer(evaluator, scorer, data)
    return _of_rows(frame, path, data, evaluator, probabilities)


def _counts(scorer: Recommended) -> Sequence[str]:
    return f"{scorer.unknown:,}", f"{scorer.rows:,}"


def _of_rows(frame: Any, path: Path, data: Dataset, evaluator: Any, probabilities: bool | None) -> Report:
    """Scores of the file in the place of a model's."""
    if not hasattr(evaluator, "rows"):
        raise DataError("this protocol does not say which rows it judges: a file cannot be judged by it")
    label = np.asarray(data.label)
    classes = are_zeros_and_ones(label[: 1 << 20])
    scores = row_scores(frame, path, evaluator.rows, probabilities=probabilities, log_odds=classes)
    tables, nothing = Tables.of(data), Nothing()
    state = evaluator.start(nothing, tables)
    outcomes = [evaluator.block(n, nothing, tables, state) for n in range(len(evaluator))]
    columns = {n: torch.cat([o.columns[n] for o in outcomes]).numpy() for n in outcomes[0].columns}
    unit = torch.cat([o.unit for o in outcomes]).numpy()
    report: Report = evaluator.finish(unit, columns | {"score": scores[unit]})
    return report
