"""The data and the task of a run as it is trained, and as it is trained anew on more rows."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from fmlab.contracts import Task
from fmlab.data import Dataset, dataset_statistics
from fmlab.data.derived_fields import SIGN, DerivedFields
from fmlab.data.leakage import said, unseen_of
from fmlab.evaluation.audit import Audit, audit_of, audited
from fmlab.run.derived_task import with_derived_fields
from fmlab.run.run_record_writer import RunRecord
from fmlab.run.task_opening import open_dataset, open_task

log = logging.getLogger("fmlab")


class OpenedRun(NamedTuple):
    """The data of a run: the data set before its protocol left out rows, and its task.

    `base_task` is what the protocol made. `task` is the same with the fields that `derived` adds to its rows, and with
    the groups of `audit`.
    """

    dataset: Dataset
    base_task: Task
    task: Task
    derived: DerivedFields | None
    audit: Audit | None


def with_refit_rows(task: Task) -> Task:
    """The task with the rows of its `refit` as training rows; itself where it has none."""
    if task.refit is None:
        return task
    return task.changed(training=replace(task.training, rows=task.refit), refit=None)


def open_run(config: Mapping[str, Any], record: RunRecord) -> OpenedRun:
    """The data and the task, which are noted in the record and said in the log."""
    dataset = open_dataset(config)
    base_task = open_task(config, dataset)
    data = base_task.dataset
    record.note(statistics=dataset_statistics.measured(data), published=dataset_statistics.plain_published(data))
    audit = audit_of(base_task, with_refit_rows(base_task).training.rows)
    new = unseen_of(data, base_task.training.rows, validation=base_task.validation, test=base_task.test)
    record.note(steps=[vars(s) for s in data.steps], fingerprint=data.fingerprint, unseen=new)
    record.note(protocol_described=dict(base_task.described))
    facts = [f"  {name}: {what}" for name, what in base_task.described.items()]
    for line in (*dataset_statistics.lines(data), *facts, *said(new), *(audit.lines("test") if audit else ())):
        log.info(line)
    task, derived = with_derived_fields(config, base_task)
    return OpenedRun(dataset, base_task, audited(task, audit), derived, audit)


def on_refit_rows(config: Mapping[str, Any], opened: OpenedRun, selected: DerivedFields | None) -> OpenedRun:
    """The run on the rows of its refit: derived fields of the groups that were `selected` are fitted on these rows."""
    base_task = with_refit_rows(opened.base_task)
    groups: dict[str, Any] = {"crosses": [], "target_statistics": []}
    if selected is not None:
        groups["crosses"] = [SIGN.join(cross.fields) for cross in selected.crosses]
        groups["target_statistics"] = [SIGN.join(one.fields) for one in selected.statistics]
        groups["target_statistics_as"] = selected.form
    task, derived = with_derived_fields({**config, **groups}, base_task)
    return opened._replace(base_task=base_task, task=audited(task, opened.audit), derived=derived)
