"""What a worker is told, and what a trial tells while it runs."""

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fmlab.errors import FmlabError, StorageError
from fmlab.files import size, write_json
from fmlab.memory import memory_of_process

SIZES = ("parameters", "bytes", "microseconds_per_row")  # what a model costs where it serves
COSTS = (*SIZES, "seconds_fit", "rows_per_second")  # figures of a run besides its metrics

_TRAINED = 16  # bytes of a parameter in training: its value, its gradient, and two moments of it


class SweepFailed(FmlabError):
    """Some trials of a finished sweep failed, or it was stopped because all of them do."""

    code = 3


class TrialPruned(Exception):
    """The trial is worse than others were at this step."""

    status = "pruned"


class TrialTooLong(Exception):
    """There is no time for the trial; a later invocation of the sweep tries it."""

    status = "no time"


class TrialLost(Exception):
    """The trial was given up while its worker was silent; somebody else runs it again."""

    status = "lost"


@dataclass(frozen=True)
class Job:
    """Built-in containers that a coordinator hands to its workers as JSON."""

    name: str
    raw: Mapping[str, Any]  # the sweep as `definition.read` takes it
    command: Mapping[str, str]  # what the user typed
    overrides: Sequence[str]  # that hold for every trial
    storage: str
    folder: str
    objective: str = "fmlab.sweep.objective:TrialObjective"
    config_name: str = "config"
    search_path: Sequence[Sequence[str]] = ()  # (provider, path); empty: the program's own
    threads: int = 1
    keeps_scores: bool = False  # of validation rows, for an ensemble
    command_wins: bool = True  # over `raw`; its values are the user's either way, and may read variables
    ends: float | None = None  # when the search ends, seconds since 1970: a worker may take long to start


@dataclass
class Progress:
    """A running trial's line to the study: reports, whether to stop, whether it still counts."""

    report: Callable[[int, float], bool] = lambda step, value: False
    given_up: Callable[[], bool] = lambda: False
    deadline: float | None = None  # of time.monotonic: the trial is to be over, figures and all
    most: float | None = None  # seconds of training
    first: bool = False  # no trial is finished yet: this one is not refused for lack of time
    tail: float = 0.0  # seconds that the trial takes after its training
    prunes: bool = False
    metric: str | None = None
    max_parameters: int | None = None
    max_latency: float | None = None  # microseconds a row
    max_bytes: int | None = None  # of memory of this process
    reported: list[float] = field(default_factory=list)
    began: float | None = None  # of time.monotonic: training
    goes_on: Path | None = None  # folder of a run from whose last checkpoint this one is trained on

    def step(self, step: int, value: float) -> None:
        """Report the monitored value; raises Pruned, or Lost."""
        self.check()
        if self.prunes:
            self.reported.append(value)
            if self.report(step, value):
                raise TrialPruned(f"pruned at step {step} with {value:.6g}")

    def refuse_larger(self, parameters: int) -> None:
        """Raises TrialPruned for a model of more parameters than the sweep takes."""
        if self.max_parameters is not None and parameters > self.max_parameters:
            raise TrialPruned(f"{parameters:,} parameters are more than max_parameters={self.max_parameters:,}")
        needed = _TRAINED * parameters
        if self.max_bytes is not None and needed > self.max_bytes:
            raise TrialPruned(f"{parameters:,} parameters take {size(needed)} to train, {self._share()}")

    def refuse_slower(self, microseconds: float) -> None:
        """Raises TrialPruned for a model that takes longer for a row than the sweep allows."""
        if self.max_latency is not None and microseconds > self.max_latency:
            raise TrialPruned(f"{microseconds:.3g} us a row are more than max_latency={self.max_latency:g}")

    def refuse_more_memory(self) -> None:
        """Raises TrialPruned where this process holds more memory than its share."""
        if self.max_bytes is not None and (held := memory_of_process()) > self.max_bytes:
            raise TrialPruned(f"the trial takes {size(held)} of memory, {self._share()}")

    def _share(self) -> str:
        return f"more than the {size(self.max_bytes or 0)} that memory_limit leaves each worker"

    def check(self) -> None:
        """Raises Lost once the trial was given up."""
        if self.given_up():
            raise TrialLost("this worker was silent for too long, the trial was given to another")

    @property
    def time_is_up(self) -> bool:
        """Whether training, which begins when this is asked first, has to end."""
        now = time.monotonic()
        self.began = now if self.began is None else self.began
        over = self.most is not None and now > self.began + self.most
        return over or (self.deadline is not None and now > self.deadline - self.tail)

    @property
    def share(self) -> float:
        """The part of the time for training that is over, 0 where there is no end."""
        left = self.training_left
        if self.began is None or left is None:
            return 0.0
        spent = time.monotonic() - self.began
        return spent / max(spent + left, 1e-9)

    @property
    def training_left(self) -> float | None:
        """Seconds for which training may go on, negative after its end; None where there is none."""
        ends = [] if self.most is None or self.began is None else [self.began + self.most]
        ends += [] if self.deadline is None else [self.deadline - self.tail]
        return min(ends) - time.monotonic() if ends else None

    def begin_again(self) -> None:
        """The training begins anew, and what it took until now is gone."""
        if self.most is not None and self.began is not None:
            self.most -= time.monotonic() - self.began
        self.began = None

    def judging(self, each: float, now: float, parts: float) -> None:
        """Note that a validation takes `each` seconds, of which `now` are left, and that `parts` more will follow.

        Raises TrialTooLong where they take longer than there is time.
        """
        self.tail = max(self.tail, each * parts)
        if self.deadline is not None and not self.first and time.monotonic() + now + each > self.deadline:
            raise TrialTooLong(f"a validation takes {each:.0f} s, for which there is no time")


def trial_folder(folder: Path, number: int) -> Path:
    """Where a trial of a sweep in `folder` runs."""
    return folder / "trials" / f"{number:04d}"


def mark_folders(folder: Path, before: Collection[str] | None, after: str, kept: Collection[str] = ()) -> None:
    """Give the runs below a trial's folder another status.

    `before`: only those that have one of these. `kept`: names of folders that are left alone.
    """
    for path in folder.rglob("metrics.json"):
        with suppress(OSError, ValueError, StorageError):  # the worker was killed while it wrote
            content = json.loads(path.read_text("utf-8"))
            if (before is None or content.get("status") in before) and path.parent.name not in kept:
                write_json(path, {**content, "status": after})


class Objective(Protocol):
    """Made once in each worker, called for every run."""

    def __call__(self, overrides: Sequence[str], folder: Path, progress: Progress) -> Mapping[str, float]:
        """Figures of one run by name; the empty name is the value the protocol selects by."""
        ...
