"""metrics.json of a run: the version of its layout, its keys, and `read_record`, which checks the version.

A program that reads one key of a record of its own version may read the JSON itself, as sweeps do with their trials.

| version | layout                                                                                                |
|---------|-------------------------------------------------------------------------------------------------------|
| 1       | no `schema_version`; options in config.yaml may have the names of before                              |
| 2       | `schema_version`                                                                                      |

Version 1 is read as version 2. A later version than this one is refused: its keys may mean something else.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from fmlab.errors import StorageError
from fmlab.untrusted.parsing import read_json

VERSION = 2
MOST = 64 << 20  # bytes of a record that are read


class Record(TypedDict, total=False):
    """The record of a run. A run that goes on, or that failed, holds the first part alone."""

    schema_version: int
    status: str  # running, complete, failed, interrupted; of a trial also pruned, lost, refused
    error: str
    data: str
    protocol: str
    model: str
    loss: str
    optimizer: str
    scheduler: str
    seed: int
    batch_size: int

    statistics: Mapping[str, Any]
    published: Mapping[str, Any]
    steps: list[Mapping[str, Any]]
    fingerprint: str
    protocol_described: Mapping[str, Any]
    model_options: Mapping[str, Any]  # that the model read from trained ones
    warm_start: list[Mapping[str, Any]]
    unseen: Mapping[str, Any]
    training_rows: int
    parameters: int
    search: NotRequired[Mapping[str, Any]]  # of a run that searched the structure of its model
    flops: float
    epochs: int
    best_epoch: int | None
    seconds_fit: float
    seconds_test: float
    rows_per_second: int

    monitor: str
    maximize: bool
    validation: Mapping[str, float]
    test: Mapping[str, float]
    known_best: NotRequired[Mapping[str, float] | None]  # of data sets with planted scores
    audit: Mapping[str, Any] | None
    test_details: Mapping[str, Any]
    calibration: Mapping[str, Any]
    refit: Mapping[str, Any]
    quantized: NotRequired[Mapping[str, Any]]  # how tables are stored; validation, test and bytes of before
    diverged: Mapping[str, float]
    constant: Mapping[str, float]  # test metrics of the mean training label as every prediction
    warnings: NotRequired[list[str]]


def read_record(path: Path) -> Record:
    """The record of a run, as of now; raises StorageError for one of a later version, OSError, ValueError."""
    if path.is_file() and path.stat().st_size > MOST:
        raise ValueError(f"must have at most {MOST:,} bytes, got {path.stat().st_size:,}")
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError("must hold the record of a run")
    version = content.get("schema_version", 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"schema_version must be a whole number of 1 or more, got {version!r:.80}")
    if version > VERSION:
        raise StorageError(
            f"{path} was written by a later fmlab: its schema_version is {version}, this one reads up to {VERSION}; "
            "install the later version"
        )
    return cast(Record, {**content, "schema_version": VERSION})
