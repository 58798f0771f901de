"""Run folders as a report reads them: what cannot be read is told apart, never an end to the others."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fmlab.errors import StorageError

_NEEDED = ("data", "protocol", "model", "seed", "fingerprint", "monitor", "maximize", "test", "validation")
# What says where a run takes place and what is shown of it, not what it computes.
_ASIDE = (
    *("seed", "root", "cache", "ckpt_path", "if_exists", "resume_changes", "tags", "logger."),
    *("trainer.threads", "trainer.progress", "trainer.checkpoint_every", "trainer.num_nodes"),
)
_PLACE = ("data.", "protocol.")


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
    def value(self) -> float:
        """The metric that selects models, of the validation; NaN where it is undefined."""
        return number(self.content["validation"][self.content["monitor"]])

    @cached_property
    def place(self) -> Mapping[str, Any]:
        """Options of data and protocol: what the leaderboard is of."""
        return {k: v for k, v in self.config.items() if k.startswith(_PLACE)}

    @cached_property
    def protocol(self) -> Mapping[str, Any]:
        """Options of the protocol."""
        return {k: v for k, v in self.config.items() if k.startswith("protocol.")}

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Options that tell one row of a leaderboard from another: all but the seed and where it ran."""
        return {k: v for k, v in self.config.items() if not k.startswith((*_PLACE, *_ASIDE))}

    @cached_property
    def finished(self) -> int:
        """When metrics.json was written last."""
        return (self.folder / "metrics.json").stat().st_mtime_ns


class Unreadable(NamedTuple):
    """A file that is no run's, and why."""

    path: Path
    why: str


def number(value: Any) -> float:
    """A figure of metrics.json, which writes NaN as null."""
    return float("nan") if value is None else float(value)


def find_runs(folder: Path) -> tuple[list[Run], list[Unreadable]]:
    """All runs below a folder, in path order, and what cannot be read; raises StorageError if it is no folder."""
    if folder.is_file():
        raise StorageError(f"a report needs a folder of runs, got {folder}, which is a file")
    if not folder.is_dir():
        raise StorageError(f"a report needs a folder of runs, got {folder}, which does not exist")
    runs: list[Run] = []
    unreadable: list[Unreadable] = []
    for path in sorted(_metrics(folder)):
        try:
            runs.append(_read(path))
        except (OSError, ValueError, yaml.YAMLError) as error:
            unreadable.append(Unreadable(path, " ".join(str(error).split())))
    return runs, unreadable


def _metrics(folder: Path) -> Iterator[Path]:
    return (p for p in folder.rglob("metrics.json") if p.is_file())


def _read(path: Path) -> Run:
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict) or not isinstance(content.get("status"), str):
        raise ValueError("holds no status of a run")
    if content["status"] != "complete":
        return Run(path.parent, content, _config(path) or {})
    missing = [k for k in _NEEDED if k not in content]
    if missing:
        raise ValueError(f"is said to be complete but holds no {', no '.join(missing)}")
    for part in ("test", "validation"):
        figures = content[part]
        if not isinstance(figures, dict) or content["monitor"] not in figures:
            raise ValueError(f"{part} holds no {content['monitor']}")
        for value in figures.values():
            number(value)
    config = _config(path)
    if config is None:
        raise ValueError("has no config.yaml beside it")
    absent = [g for g in ("data", "protocol", "model", "loss", "optimizer") if f"{g}.name" not in config]
    if absent:
        raise ValueError(f"its config.yaml has no {', no '.join(absent)}")
    return Run(path.parent, content, config)


def _config(path: Path) -> dict[str, Any] | None:
    """The config.yaml beside a metrics.json, None if there is none."""
    try:
        plain = yaml.load(
            path.with_name("config.yaml").read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
    except FileNotFoundError:
        return None
    return flat(plain) if isinstance(plain, dict) else {}


def flat(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as `group.option: value`."""
    found: dict[str, Any] = {}
    for key, value in plain.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found
