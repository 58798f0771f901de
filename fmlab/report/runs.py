"""Run folders as a report reads them: what cannot be read is listed, and the others are read all the same."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from fmlab.config.renames import of_now
from fmlab.errors import StorageError
from fmlab.records.folder import RunFolder
from fmlab.records.record import read_record
from fmlab.terminal.escaping import escaped_line, shown
from fmlab.untrusted.parsing import read_yaml

_NEEDED = ("data", "protocol", "model", "seed", "fingerprint", "monitor", "maximize", "test", "validation")
# What says where a run takes place and what is shown of it, not what it computes.
_ASIDE = (
    *("seed", "data_dir", "cache_dir", "root", "cache", "ckpt_path", "if_exists", "resume_changes", "tags", "logger."),
    *("trainer.threads", "trainer.progress", "trainer.checkpoint_every", "trainer.num_nodes"),
)
_PLACE = ("data.", "protocol.")
_FOLD = "protocol.fold"  # runs that differ in it are repetitions, as those that differ in the seed
_TEXTS = ("data", "protocol", "model", "fingerprint", "monitor")
_FIGURES = (
    "parameters",
    "flops",
    "epochs",
    "best_epoch",
    "seconds_fit",
    "seconds_test",
    "rows_per_second",
    "batch_size",
)
_OF_A_SWEEP = ("results.json", "study.journal")
LARGEST = 1e100  # of a figure; sums and squares of these are still numbers


@dataclass(frozen=True)
class Run:
    """A run folder: its metrics.json, and its config.yaml as `key.option: value`."""

    folder: Path
    content: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def complete(self) -> bool:
        """Whether it was tested."""
        return self.content["status"] == "complete"

    @property
    def cut(self) -> Mapping[str, float] | None:
        """How far a trial came that the time of its sweep ended: `epochs`, and the `share` of the training rows."""
        found = self.content.get("cut")
        told = isinstance(found, Mapping) and all(isinstance(found.get(k), int | float) for k in ("epochs", "share"))
        return found if told else None

    @property
    def value(self) -> float:
        """The metric that selects models, of the validation; NaN where it is undefined."""
        return number(self.content["validation"][self.content["monitor"]])

    @property
    def test_to_training(self) -> float | None:
        """Its test rows by the rows that the tested model was trained on; None where it does not say."""
        anew, unseen = self.content.get("refit"), self.content.get("unseen")
        trained = anew.get("rows") if isinstance(anew, Mapping) else self.content.get("training_rows")
        tested = unseen.get("test", {}).get("rows") if isinstance(unseen, Mapping) else None
        return tested / trained if tested and trained else None

    @cached_property
    def place(self) -> Mapping[str, Any]:
        """Options of data and protocol: what the leaderboard is of."""
        return {k: v for k, v in self.config.items() if k.startswith(_PLACE) and k != _FOLD}

    @cached_property
    def protocol(self) -> Mapping[str, Any]:
        """Options of the protocol."""
        return {k: v for k, v in self.config.items() if k.startswith("protocol.") and k != _FOLD}

    @cached_property
    def repetition(self) -> tuple[int, int]:
        """Its seed, and which fold or repetition of the split it was judged on."""
        fold = self.config.get(_FOLD)
        return int(self.content["seed"]), fold if isinstance(fold, int) else 0

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Options that tell one row of a leaderboard from another: all but the seed and where it ran."""
        own = {k: v for k, v in self.config.items() if not k.startswith((*_PLACE, *_ASIDE))}
        # Whole tables and no search are what runs of before there was a choice have.
        usual = {"table.name": "full", "search.name": "none"}
        stored = self.content.get("quantized")
        own |= {"quantized": stored.get("stored_as")} if isinstance(stored, Mapping) else {}
        return {k: v for k, v in own.items() if usual.get(k, "") != v}

    @cached_property
    def finished(self) -> int:
        """When metrics.json was written last."""
        return (self.folder / "metrics.json").stat().st_mtime_ns


class Unreadable(NamedTuple):
    """A file that is no run's, and why."""

    path: Path
    why: str


def number(value: Any) -> float:
    """A figure of metrics.json, which writes NaN as null; an infinite one is undefined too."""
    return float("nan") if value is None or not math.isfinite(value) else float(value)


def find_runs(folder: Path) -> tuple[list[Run], list[Unreadable]]:
    """All runs below a folder, in path order, and what cannot be read; a file in a run or sweep folder means that one.

    Raises StorageError if there is no such folder.
    """
    folder = _meant(folder)
    if folder.is_file():
        raise StorageError(f"a report needs a folder of runs or a file in one, got {folder}, which is neither")
    if not folder.is_dir():
        raise StorageError(f"a report needs a folder of runs, got {folder}, which does not exist")
    runs: list[Run] = []
    unreadable: list[Unreadable] = []
    for path in sorted(_metrics(folder)):
        try:
            runs.append(_read(path))
        except (OSError, ValueError, StorageError) as error:
            unreadable.append(Unreadable(Path(escaped_line(str(path))), shown(" ".join(str(error).split()))))
    return runs, unreadable


def _meant(path: Path) -> Path:
    """The run or sweep folder that a checkpoint, or another file of it, lies in; other paths as they are."""
    folder = path.parent if path.is_file() else path
    above = folder.absolute().parent
    if folder.absolute() == RunFolder(above).checkpoints and RunFolder(above).metrics.is_file():
        return above
    is_known = any((folder / name).is_file() for name in ("metrics.json", *_OF_A_SWEEP))
    return folder if is_known else path


def _metrics(folder: Path) -> Iterator[Path]:
    return (p for p in folder.rglob("metrics.json") if p.is_file())


def _read(path: Path) -> Run:
    """The run of a metrics.json; raises ValueError with what is wrong, OSError."""
    content = dict(read_record(path))
    if not isinstance(content.get("status"), str):
        raise ValueError("holds no status of a run")
    for key in _FIGURES:
        _check_number(key, content.get(key))
    for part in ("test", "validation", "known_best"):
        figures = content.get(part)
        if not isinstance(figures, dict | None):
            raise ValueError(f"{part} must be metrics by name, got {figures!r:.80}")
        for name, value in (figures or {}).items():
            _check_number(f"{part} {name}", value)
    config = _config(path)
    if content["status"] != "complete":
        return Run(path.parent, content, config or {})
    _check_complete(content)
    if config is None:
        raise ValueError("has no config.yaml beside it")
    absent = [g for g in ("data", "protocol", "model") if not config.get(f"{g}.name")]
    if absent:
        raise ValueError(f"its config.yaml has no {', no '.join(absent)}")
    return Run(path.parent, content, config)


def _check_complete(content: Mapping[str, Any]) -> None:
    """Raise ValueError for what a report needs of a finished run and does not find."""
    missing = [k for k in _NEEDED if content.get(k) is None]
    if missing:
        raise ValueError(f"is said to be complete but holds no {', no '.join(missing)}")
    for key in _TEXTS:
        if not isinstance(content[key], str):
            raise ValueError(f"{key} must be text, got {content[key]!r:.80}")
    if not isinstance(content["maximize"], bool):
        raise ValueError(f"maximize must be true or false, got {content['maximize']!r:.80}")
    if not isinstance(content["seed"], int) or isinstance(content["seed"], bool):
        raise ValueError(f"seed must be a whole number, got {content['seed']!r:.80}")
    for part in ("test", "validation"):
        if content["monitor"] not in content[part]:
            raise ValueError(f"{part} holds no {content['monitor']}")


def _check_number(name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number, got {value!r:.80}")
    if abs(value) > LARGEST and value not in (math.inf, -math.inf):
        raise ValueError(f"{name} must be at most {LARGEST:g}, got {value:.3g}")


def _config(path: Path) -> dict[str, Any] | None:
    """The config.yaml beside a metrics.json, None if there is none; raises ValueError."""
    try:
        config = read_yaml(path.with_name("config.yaml"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"config.yaml {error}") from error
    found = flat(of_now(config)) if isinstance(config, dict) else {}
    if found.get("refit_on") == "train":  # as it is in runs that were made before there was the option
        del found["refit_on"]
    for key, value in found.items():
        if isinstance(value, int | float) and not abs(value) <= LARGEST:
            raise ValueError(f"config.yaml: {key} must be a number of at most {LARGEST:g}, got {value!r:.80}")
    return found


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as `group.option: value`."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found
