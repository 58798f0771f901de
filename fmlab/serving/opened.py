"""A run folder made ready to score: its model, the data set that the model knows, and how raw text is read.

The checkpoint says what the model is; the vocabularies are those of the data set under the run's protocol. That is
found in the cache by its fingerprint, whether the raw files are still there or not, and prepared again otherwise.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from fmlab.checkpoints import read_checkpoint
from fmlab.data import Dataset, Schema
from fmlab.errors import FmlabError, StorageError
from fmlab.protocols import Source, Task
from fmlab.registry import build
from fmlab.run import model_of
from fmlab.store import open_dataset, reopen

log = logging.getLogger(__name__)
CONFIG = "config.yaml"


@dataclass(frozen=True)
class Opened:
    """A trained run.

    `dataset` is what the model was trained on, its fields and entities those of the model; `source` is the same before
    the protocol left out rows, users and items. `identity` is what the checkpoint says of itself. `log_odds`: whether
    a score is the logarithm of the odds of label 1.
    """

    checkpoint: Path
    identity: Mapping[str, Any]
    model: nn.Module
    dataset: Dataset
    source: Dataset
    log_odds: bool

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.identity["model"]["name"])


def open_run(path: Path, environment: Mapping[str, str]) -> Opened:
    """The run of a folder, or of a checkpoint in it; FMLAB_DATA_DIR and FMLAB_CACHE count before the run's folders.

    Raises StorageError without a checkpoint, FmlabError for a foreign one, DataError where the data have changed.
    """
    folder, checkpoint = locate(path)
    config = _config(folder / CONFIG)
    saved = read_checkpoint(checkpoint)
    identity = saved["fmlab"]
    source = _data(config, str(identity["data"]), environment, checkpoint)
    dataset = build("protocol", identity["protocol"], source, gives=Task).dataset
    if dataset.schema != Schema.from_dict(identity["schema"]):
        raise FmlabError(
            f"the vocabularies must be those that {checkpoint} was trained with: protocol "
            f"{identity['protocol']['name']!r} now makes others of the same data; train again"
        )
    loss = build("loss", identity["loss"])
    return Opened(
        checkpoint, identity, model_of(saved, checkpoint), dataset, source, bool(getattr(loss, "log_odds", False))
    )


def locate(path: Path) -> tuple[Path, Path]:
    """The run folder and the checkpoint that `path` means: the best one of a folder; raises StorageError."""
    if path.is_file():
        for folder in path.absolute().parents[:2]:
            if (folder / CONFIG).is_file():
                return folder, path
        raise StorageError(f"a checkpoint is used from within its run folder, beside {path} there is no {CONFIG}")
    if not (path / CONFIG).is_file():
        what = "has none" if path.is_dir() else "is not there"
        raise StorageError(f"a run folder holds {CONFIG} and checkpoints/, {path} {what}; training leaves one in runs/")
    best = path / "checkpoints" / "best.ckpt"
    status, error = _status(path)
    if not best.is_file():
        why = f"it {status}" if status in ("failed", "is running") else f"its status is {status}"
        raise StorageError(f"a run is used by its best checkpoint, {best} is not there: {why}{error and f': {error}'}")
    if status != "complete":
        log.warning("%s did not end (%s): the best epoch that it reached is used", path, status)
    return path, best


def _status(folder: Path) -> tuple[str, str]:
    try:
        content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        return str(content["status"]), " ".join(str(content.get("error", "")).split())
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown", ""


def _config(path: Path) -> Mapping[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        parts = (config["data"]["name"], config["root"], config["cache"])
    except (yaml.YAMLError, UnicodeError, KeyError, TypeError) as error:
        raise FmlabError(f"{path} is not the config of a run: {type(error).__name__}: {error}") from error
    if not all(isinstance(p, str) for p in parts):
        raise FmlabError(f"{path} is not the config of a run: data.name, root and cache must be text, got {parts}")
    return config


def _data(config: Mapping[str, Any], fingerprint: str, environment: Mapping[str, str], checkpoint: Path) -> Dataset:
    """The prepared data set of the fingerprint, from the cache if it is there."""
    name = config["data"]["name"]
    root = Path(environment.get("FMLAB_DATA_DIR") or config["root"]).expanduser()
    cache = Path(environment.get("FMLAB_CACHE") or config["cache"]).expanduser()
    for place in dict.fromkeys((cache, Path(config["cache"]).expanduser())):
        if (found := reopen(name, fingerprint, place)) is not None:
            return found
    options = {k: v for k, v in config["data"].items() if k != "name"}
    try:
        found = open_dataset(build("data", config["data"], root, gives=Source), name, options, root, cache)
    except FmlabError as error:
        raise type(error)(f"{error}; without {name}-{fingerprint[:16]} in {cache} the raw data are needed") from error
    if found.fingerprint != fingerprint:
        raise FmlabError(
            f"the data must be those that {checkpoint} was trained on, {name}-{fingerprint[:16]}: they are not in "
            f"{cache} any more, and the raw files now make {found.fingerprint[:16]}; put these back, or train again"
        )
    return found
