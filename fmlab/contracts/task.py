"""A data set under a protocol: training rows, and how a model is judged."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from torch import Tensor

from fmlab.data import Array, Dataset
from fmlab.data.batch import Tables


@dataclass(frozen=True)
class Training:
    """What one epoch iterates over: `rows` (int64) of the task's data set, each once.

    With `negatives` > 0, every row is a positive and gets that many items its user has no training interaction
    with, drawn anew every epoch if `redraw`; otherwise rows carry their labels. `negative_rate`: the share of labeled
    rows with label 0 that is among `rows`; log-odds are corrected for what was left out.
    """

    rows: Array
    negatives: int = 0
    redraw: bool = True
    negative_rate: float = 1.0


@dataclass(frozen=True)
class BlockResult:
    """What a block of an evaluation gives: unit numbers int64[n] and columns float64[n] by name."""

    unit: Tensor
    columns: Mapping[str, Tensor]


@dataclass(frozen=True)
class Report:
    """Metric values by name, and the values of each unit (user, row) for significance tests.

    `groups`: values on some of the judged rows, with their number as `rows`, by the name of the group.
    `details`: numbers and lists that metrics keep beside their value, such as a curve, by the metric's name.
    """

    values: Mapping[str, float]
    units: Mapping[str, Array] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Evaluator(Protocol):
    """How a model is judged on one part of the data. Blocks are independent: ranks and devices may share them."""

    def __len__(self) -> int:
        """Number of blocks."""
        ...

    def start(self, scorer: Any, tables: Tables) -> Any:
        """Work done once for a model, for instance all item vectors."""
        ...

    def block(self, index: int, scorer: Any, tables: Tables, state: Any) -> BlockResult:
        """Score one block."""
        ...

    def finish(self, unit: Array, columns: Mapping[str, Array]) -> Report:
        """Metrics of all units, each counted once; raises DataError where a metric is undefined."""
        ...


@dataclass(frozen=True)
class Task:
    """A data set under a protocol: what is trained on, what is tested, and which metric selects.

    `refit`: int64 rows that the model is trained on anew before the test, with the epochs that the validation selected;
    None: the selected model itself is tested. `described`: what a report must say of the protocol, by name.

    `test_history`: rows (int64) that the histories of test cases are made of, for models that ask for histories; None
    are the training rows. A protocol whose test comes after its validation lists the rows of both
    (`fmlab.data.histories` has the rule).
    """

    dataset: Dataset
    training: Training
    validation: Evaluator
    test: Evaluator
    monitor: str
    maximize: bool
    refit: Array | None = None
    described: Mapping[str, str] = field(default_factory=dict)
    test_history: Array | None = None

    def changed(self, **parts: Any) -> "Task":
        """A task with other parts, and all that is not named as it is here, whatever class made this one."""
        kept = {f.name: getattr(self, f.name) for f in fields(Task)}
        return Task(**(kept | parts))
