"""The test of a run: its reports, and what its record and its log say of them."""

import io
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fmlab.contracts import Report
from fmlab.evaluation import evaluate, planted_scorer
from fmlab.files import write_bytes
from fmlab.records.folder import RunFolder
from fmlab.run.building import Parts
from fmlab.run.opened_run import OpenedRun
from fmlab.run.run_record_writer import RunRecord
from fmlab.training import run_warnings
from fmlab.training.distributed import is_first_process
from fmlab.training.progress import figure

log = logging.getLogger("fmlab")


def judge(parts: Parts, best: Path | None, what: str) -> Report:
    """The report of a part of the data, for the model of a checkpoint, or as it is in memory."""
    getattr(parts.trainer, what)(parts.learner, ckpt_path=best, verbose=False, weights_only=True)
    assert parts.learner.report is not None
    return parts.learner.report


def report(
    opened: OpenedRun,
    validation: Mapping[str, float],
    test: Report,
    diverged: Mapping[str, float] | None,
    record: RunRecord,
) -> None:
    """Write to the record and the log how the model was judged."""
    task, audit = opened.task, opened.audit
    planted = planted_scorer(task.dataset)
    record.update(
        status="complete",
        monitor=task.monitor,
        maximize=task.maximize,
        validation=dict(validation),
        test=dict(test.values),
        audit=None if audit is None else {"shares": dict(audit.shares), "groups": _plain(test.groups)},
        **({"test_details": dict(test.details)} if test.details else {}),
        known_best=None if planted is None else dict(evaluate(task.test, planted, task.dataset).values),
    )
    log.info("test  " + "  ".join(f"{k} {figure(v)}" for k, v in test.values.items()))
    record.update(**run_warnings.findings(task, test, diverged))


def keep_units(place: RunFolder, test: Report) -> None:
    """Write what every test case gives to the metrics."""
    if is_first_process():
        units = io.BytesIO()
        np.savez_compressed(units, allow_pickle=False, **test.units)
        write_bytes(place.units, units.getvalue())


def _plain(groups: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {name: dict(figures) for name, figures in groups.items()}
