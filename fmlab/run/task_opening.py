"""The data set and the task of a run; the last ones stay open for the next run of the process."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fmlab.config.schema import BOTH
from fmlab.contracts import Task
from fmlab.contracts.checks import checked_task
from fmlab.data import Dataset
from fmlab.data.source_checks import checked_source
from fmlab.data.store.cache import cached_dataset
from fmlab.data.store.fingerprint import identify
from fmlab.errors import FmlabError
from fmlab.evaluation import RankedLists, ScoredRows
from fmlab.plugin.registry import build, schema

# A multirun's jobs share one process: the last data set and task stay open between them.
_open: dict[str, tuple[str, Any]] = {}


def open_dataset(config: Mapping[str, Any]) -> Dataset:
    """The prepared data set; the last one stays open for as long as its content, not its path, is the same."""
    root, cache, name = Path(config["data_dir"]), Path(config["cache_dir"]), config["data"]["name"]
    options = {k: v for k, v in config["data"].items() if k != "name"}
    source = checked_source(build("data", config["data"], root), name)
    identified = identify(source, name, options, root, cache)
    key = repr((name, identified.identity, identified.code_sha256, cache))
    return reuse("data", key, lambda: cached_dataset(source, name, options, root, cache, identified))


def open_task(config: Mapping[str, Any], dataset: Dataset | None = None) -> Task:
    """The prepared data set, or the given one, under the configured protocol."""
    data = dataset or open_dataset(config)
    both, options = config.get("refit_on") == BOTH, config["protocol"]
    own = any(o.name == "refit" for o in schema("protocol", options["name"]).options)
    if both and own:
        options = {**options, "refit": True}

    def task() -> Task:
        return checked_task(build("protocol", options, data, gives=Task), options["name"])

    if not both or own:
        return reuse("task", task_key(config, data), task)
    base = reuse("task", task_key({**config, "refit_on": None}, data), task)
    return reuse("task of a refit", task_key(config, data), lambda: with_validation_rows(base, options["name"]))


def with_validation_rows(task: Task, protocol: str) -> Task:
    """The task whose tested model is trained anew on training and validation rows; raises FmlabError."""
    if not isinstance(task.validation, ScoredRows | RankedLists):
        raise FmlabError(
            f"refit_on={BOTH} needs a protocol whose validation scores rows or ranks items, got protocol={protocol}"
        )
    rows, rate, label = np.asarray(task.validation.rows), task.training.negative_rate, task.dataset.label
    if rate < 1 and label is not None:  # of rows with label 0 the share that training has
        drawn = np.random.default_rng(len(rows)).random(len(rows)) < rate
        rows = rows[drawn | (np.asarray(label)[rows] > 0)]
    return task.changed(refit=np.union1d(task.training.rows, rows))


def task_key(config: Mapping[str, Any], data: Dataset) -> str:
    """The same for the same task: files that the protocol's options name count as they are now."""
    files = [v for v in config["protocol"].values() if isinstance(v, str) and os.path.isfile(v)]
    states = [(s.st_size, s.st_mtime_ns, s.st_ino) for s in map(os.stat, files)]
    refit = config.get("refit_on") == BOTH
    return repr((data.fingerprint, config["protocol"], refit, states))


def reuse(kind: str, key: str, make: Callable[[], Any]) -> Any:
    """What `make()` gave for this `key` if it was the last of its `kind`; else it is made and kept."""
    if kind not in _open or _open[kind][0] != key:
        _open[kind] = (key, make())
    return _open[kind][1]
