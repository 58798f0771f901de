"""What the record, the log and the run folder hold of the results of a run."""

import io
import logging
from collections.abc import Mapping

import numpy as np

from fmlab.contracts import Report
from fmlab.evaluation import evaluate, planted_scorer
from fmlab.files import write_bytes
from fmlab.records.folder import RunFolder
from fmlab.run.run_opening import OpenedRun
from fmlab.run.run_record_writer import RunRecord
from fmlab.training import run_warnings
from fmlab.training.distributed import is_first_process
from fmlab.training.progress import format_number

log = logging.getLogger("fmlab")


def write_results(
    opened: OpenedRun,
    validation: Mapping[str, float],
    test: Report,
    diverged: Mapping[str, float] | None,
    record: RunRecord,
    folder: RunFolder,
) -> None:
    """Write the metrics of both parts to the record and the log, and the values of each test case to the folder.

    `diverged`: where the training loss left its range, None where it did not.
    """
    task, audit = opened.task, opened.audit
    planted = planted_scorer(task.dataset)
    log.info("test  " + "  ".join(f"{k} {format_number(v)}" for k, v in test.values.items()))
    record.note(
        monitor=task.monitor,
        maximize=task.maximize,
        validation=dict(validation),
        test=dict(test.values),
        audit=None if audit is None else {"shares": dict(audit.shares), "groups": _plain(test.groups)},
        **({"test_details": dict(test.details)} if test.details else {}),
        known_best=None if planted is None else dict(evaluate(task.test, planted, task.dataset).values),
        **run_warnings.findings(task, test, diverged),
    )
    if is_first_process():
        write_case_values(folder, test)
    record.update(status="complete")  # the last that is written: a folder that says so has all


def write_case_values(folder: RunFolder, test: Report) -> None:
    """Write what every test case gives to the metrics."""
    units = io.BytesIO()
    np.savez_compressed(units, allow_pickle=False, **test.units)
    write_bytes(folder.units, units.getvalue())


def _plain(groups: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {name: dict(values) for name, values in groups.items()}
