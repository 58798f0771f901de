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
from fmlab.run.derived_task import NO_FIELDS, with_derived_fields
from fmlab.run.run_record_writer import RunRecord
from fmlab.run.task_opening import open_dataset, open_task, reuse, task_key

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
    facts = reuse("facts", task_key(config, dataset), lambda: _facts(base_task))
    record.note(**facts.noted)
    for line in facts.lines:
        log.info(line)
    task, derived = with_derived_fields(config, base_task)
    return OpenedRun(dataset, base_task, audited(task, facts.audit), derived, facts.audit)


class _Facts(NamedTuple):
    """What is said of a task before a run: for the record, and as lines of the log."""

    noted: dict[str, Any]
    audit: Audit | None
    lines: list[str]


def _facts(task: Task) -> _Facts:
    data = task.dataset
    audit = audit_of(task, with_refit_rows(task).training.rows)
    new = unseen_of(data, task.training.rows, validation=task.validation, test=task.test)
    noted = {
        "statistics": dataset_statistics.measured(data),
        "published": dataset_statistics.plain_published(data),
        "steps": [vars(s) for s in data.steps],
        "fingerprint": data.fingerprint,
        "unseen": new,
        "protocol_described": dict(task.described),
    }
    described = [f"  {name}: {what}" for name, what in task.described.items()]
    lines = [*dataset_statistics.lines(data), *described, *said(new), *(audit.lines("test") if audit else ())]
    return _Facts(noted, audit, lines)


def on_refit_rows(config: Mapping[str, Any], opened: OpenedRun, selected: DerivedFields | None) -> OpenedRun:
    """The run on the rows of its refit: derived fields of the groups that were `selected` are fitted on these rows."""
    base_task = with_refit_rows(opened.base_task)
    groups: dict[str, Any] = {**NO_FIELDS}
    if selected is not None:
        groups["crosses"] = [SIGN.join(cross.fields) for cross in selected.crosses]
        groups["target_statistics"] = [SIGN.join(one.fields) for one in selected.statistics]
        groups["ignored_fields"] = list(selected.ignored)
        groups["target_statistics_as"] = selected.form
    task, derived = with_derived_fields({**config, **groups}, base_task)
    return opened._replace(base_task=base_task, task=audited(task, opened.audit), derived=derived)
