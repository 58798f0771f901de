"""The contracts. A plugin is a callable: positional parameters from the run, keyword-only ones from the config.

| kind (entry-point group `fmlab.<kind>`) | called as                  | gives                                     |
|-----------------------------------------|----------------------------|-------------------------------------------|
| data                                    | `(root, *, options)`       | `Source`                                  |
| protocol                                | `(dataset, *, options)`    | `Task`                                    |
| model                                   | `(schema, *, options)`     | `nn.Module`, a `Model`; also `TwoSided` … |
| loss                                    | `(*, options)`             | `Loss`                                    |
| optimizer                               | `(parameters, *, options)` | `torch.optim.Optimizer`                   |
| metric                                  | `(*, options)`             | `RankMetric` or `ScoreMetric`             |

A plugin class may carry the literal attribute `defaults`, the partners it wants when the user names none:
`defaults = {"loss": "bce", "optimizer": "rsgd"}`. It is read without importing the plugin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from fmlab.batch import Batch, Tables
from fmlab.data import Array, Dataset

# ---------------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Raw:
    """One raw file: where it is expected under the root folder, and where it can be fetched from.

    `sha256` (or `md5`) is the published checksum, empty if none is. `page` is set when a login is needed:
    the file is then never fetched, and the error names the page and the folder.
    """

    path: str
    urls: tuple[str, ...] = ()
    sha256: str = ""
    md5: str = ""
    page: str = ""


@runtime_checkable
class Source(Protocol):
    """What a data plugin gives: the raw files it reads, and how it prepares them.

    `version` changes whenever `build` would give other output for the same files and options.
    `build` may stream arrays into `workspace` and return memory maps of them.
    """

    raw: Sequence[Raw]
    version: str
    licence: str
    citation: str

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Prepare the data set from `files` (path of `Raw` -> place on disk)."""
        ...


# ------------------------------------------------------------------------------------------ protocol


@dataclass(frozen=True)
class Training:
    """What one epoch iterates over: `rows` (int64) of the task's data set, each once.

    With `negatives` > 0, every row is a positive and gets that many items its user has no training interaction
    with, drawn anew every epoch if `redraw`; otherwise rows carry their labels.
    """

    rows: Array
    negatives: int = 0
    redraw: bool = True


@dataclass(frozen=True)
class Outcome:
    """What a block of an evaluation gives: unit numbers int64[n] and columns float64[n] by name."""

    unit: Tensor
    columns: Mapping[str, Tensor]


@dataclass(frozen=True)
class Report:
    """Metric values by name, and the values of each unit (user, row) for significance tests."""

    values: Mapping[str, float]
    units: Mapping[str, Array] = field(default_factory=dict)


class Evaluation(Protocol):
    """How a model is judged on one part of the data. Blocks are independent: ranks and devices may share them."""

    def __len__(self) -> int:
        """Number of blocks."""
        ...

    def start(self, scorer: Any, tables: Tables) -> Any:
        """Work done once for a model, for instance all item vectors."""
        ...

    def block(self, index: int, scorer: Any, tables: Tables, state: Any) -> Outcome:
        """Score one block."""
        ...

    def finish(self, unit: Array, columns: Mapping[str, Array]) -> Report:
        """Metrics of all units, each counted once; raises DataError where a metric is undefined."""
        ...


@dataclass(frozen=True)
class Task:
    """A data set under a protocol: what is trained on, what is tested, and which metric selects."""

    dataset: Dataset
    training: Training
    validation: Evaluation
    test: Evaluation
    monitor: str
    maximize: bool


# --------------------------------------------------------------------------------------------- model


class Model(Protocol):
    """`forward(ids[*batch, columns], values or None) -> score[*batch]`, unbounded, for any leading shape."""

    def __call__(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """Scores of whole rows."""
        ...


@runtime_checkable
class TwoSided(Protocol):
    """A score that decomposes exactly: `forward = link(bias_q + bias_i + <vector_q, vector_i>)`.

    Training with sampled negatives, ranking of all items, and export use it. `link` is strictly increasing.
    """

    def user(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Query columns `[*batch, columns]` -> (bias `[*batch]`, vector `[*batch, d]`)."""
        ...

    def item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Item columns `[*batch, columns]` -> (bias `[*batch]`, vector `[*batch, d]`)."""
        ...

    def link(self, z: Tensor) -> Tensor:
        """Strictly increasing; the identity for most models."""
        ...


@runtime_checkable
class Tempered(Protocol):
    """A model whose score of one candidate has a narrow range: losses over candidates read `score / temperature`.

    The order of items is the same at any temperature; how far a loss drives the scores apart is not.
    """

    temperature: float


@runtime_checkable
class Separable(Protocol):
    """A score whose work splits by side: `forward = combine(encode_user(q), encode_item(i))`.

    The user's part is done once however many items are scored. States are tuples of tensors with the leading
    shape of the ids; `combine` broadcasts them.
    """

    def encode_user(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """State of query columns."""
        ...

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """State of item columns."""
        ...

    def combine(self, user: tuple[Tensor, ...], item: tuple[Tensor, ...]) -> Tensor:
        """Scores of the broadcast leading shape."""
        ...


@runtime_checkable
class MetricSpace(Protocol):
    """A model whose users and items are points of a manifold; `score` decreases with their distance."""

    manifold: Any

    def user_points(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """Query columns -> points `[*batch, d]`."""
        ...

    def item_points(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """Item columns -> points `[*batch, d]`."""
        ...


@runtime_checkable
class Observes(Protocol):
    """A model that reads the training positives once before training: popularity, neighbours, graphs.

    What it keeps must be in its `state_dict`, with shapes that follow from the schema.
    """

    def observe(self, user: Tensor, item: Tensor) -> None:
        """`user[n]`, `item[n]`: indices of the training positives, rows with a label above 0 if there are labels."""
        ...


@runtime_checkable
class WarmStarts(Protocol):
    """A model that can take its first parameters from trained models: `warm_start=[runs/.../best.ckpt, ...]`."""

    def warm_start(self, *trained: Any) -> None:
        """Copy what is used of the trained models; raises FmlabError if they do not fit."""
        ...


@runtime_checkable
class ReadsOptions(Protocol):
    """A model class with options that may be read from trained models: sizes, for instance.

    Asked before the model is built, with what `warm_start` names, so that the options found stand in checkpoints.
    """

    def options_from(self, options: Mapping[str, Any], *trained: Any) -> Mapping[str, Any]:
        """A class method: options to set beside `options`, none if the trained models are there for `warm_start`."""
        ...


# ------------------------------------------------------------------------------- loss, optimizer, metric


class Loss(Protocol):
    """Calls the model, usually through `fmlab.scoring.score`; gives a scalar averaged over the rows of the batch.

    One that takes scores for the logarithm of the odds of label 1 has `log_odds = True`: predictions then come with
    probabilities.
    """

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        """Scalar loss."""
        ...


@runtime_checkable
class ChecksLabels(Protocol):
    """A loss that is defined for some labels only. Asked once, since looking at a batch waits for the device."""

    def check(self, label: Array) -> None:
        """The labels of the training rows; raises DataError if the loss is not defined for them."""
        ...


@runtime_checkable
class StartsEpoch(Protocol):
    """An optimizer with a schedule in epochs (burn-in). `epoch` counts from 0."""

    def start_epoch(self, epoch: int) -> None:
        """Called before the first step of an epoch."""
        ...


@runtime_checkable
class RankMetric(Protocol):
    """A mean over ranked lists, from the (possibly fractional) rank of the one relevant item."""

    name: str
    maximize: bool

    def of_ranks(self, rank: Array) -> Array:
        """`rank[lists]` (1 is best; ties by expected position) -> value of each list."""
        ...


@runtime_checkable
class ScoreMetric(Protocol):
    """A figure over scored rows. One that takes differences of scores and labels has `on_label_scale = True`."""

    name: str
    maximize: bool

    def of_scores(self, score: Array, label: Array) -> tuple[float, Array | None]:
        """`score[rows]`, `label[rows]` -> (value, contribution of each row or None)."""
        ...
