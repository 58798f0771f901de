"""The contracts. A plugin is a callable: positional parameters from the run, keyword-only ones from the config.

| kind (entry-point group `fmlab.<kind>`) | called as                  | gives                                     |
|-----------------------------------------|----------------------------|-------------------------------------------|
| data                                    | `(root, *, options)`       | `DataSource`                              |
| protocol                                | `(dataset, *, options)`    | `Task`                                    |
| model                                   | `(schema, *, options)`     | `nn.Module`, a `Model`; also `TwoSided` … |
| loss                                    | `(*, options)`             | `Loss`                                    |
| optimizer                               | `(parameters, *, options)` | `torch.optim.Optimizer`                   |
| metric                                  | `(*, options)`             | `RankMetric` or `ScoreMetric`             |

A plugin class may carry the literal attribute `defaults`, the partners it wants when the user names none:
`defaults = {"loss": "bce", "optimizer": "rsgd"}`. It is read without importing the plugin. A protocol may carry
`binding = {"loss": "squared"}` as well: what it names wins over the `defaults` of models, which could not work there.
"""

from fmlab.contracts.loss import Loss, ValidatesLabels
from fmlab.contracts.metric import RankMetric, ScoreMetric
from fmlab.contracts.model import (
    ComparesItems,
    InfersOptions,
    LateInteraction,
    ManifoldEmbeddings,
    Model,
    NeedsInteractions,
    Tempered,
    TwoSided,
    WarmStarts,
)
from fmlab.contracts.optimizer import EpochSchedule
from fmlab.contracts.task import BlockResult, Evaluator, Report, Task, Training
from fmlab.data.source import DataSource, RawFile

__all__ = [
    "BlockResult",
    "ComparesItems",
    "DataSource",
    "EpochSchedule",
    "Evaluator",
    "InfersOptions",
    "LateInteraction",
    "Loss",
    "ManifoldEmbeddings",
    "Model",
    "NeedsInteractions",
    "RankMetric",
    "RawFile",
    "Report",
    "ScoreMetric",
    "Task",
    "Tempered",
    "Training",
    "TwoSided",
    "ValidatesLabels",
    "WarmStarts",
]
