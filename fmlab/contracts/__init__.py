"""The contracts. A plugin is a callable: positional parameters from the run, keyword-only ones from the config.

| kind (entry-point group `fmlab.<kind>`) | called as                  | gives                                     |
|-----------------------------------------|----------------------------|-------------------------------------------|
| data                                    | `(root, *, options)`       | `DataSource`                              |
| protocol                                | `(dataset, *, options)`    | `Task`                                    |
| model                                   | `(schema, *, options)`     | `nn.Module`, a `Model`; also `TwoSided` … |
| loss                                    | `(*, options)`             | `Loss`                                    |
| sampler                                 | `(observed, *, options)`   | `Sampler`; also `ChoosesByScore`          |
| optimizer                               | `(parameters, *, options)` | `torch.optim.Optimizer`                   |
| scheduler                               | `(steps, epoch_steps, *,   | `Scheduler`, or None for a constant rate  |
|                                         | options)`                  |                                           |
| table                                   | `(schema, fields, width,   | `TableLayout`, or None for whole tables   |
|                                         | *, options)`               |                                           |
| search                                  | `(space, *, options)`      | `StructureSearch`, or None for no search  |
| metric                                  | `(*, options)`             | `ListMetric` or `ScoreMetric`             |

A plugin class may carry the literal attribute `defaults`, the partners it wants when the user names none:
`defaults = {"loss": "bce", "optimizer": "rsgd"}`. It is read without importing the plugin. A model that is not trained
by gradients says `defaults = {"loss": None, "optimizer": None}`: runs of it have no loss, optimizer, scheduler and
sampler. A protocol may carry
`binding = {"loss": "squared"}` as well: what it names wins over the `defaults` of models, which could not work there.
A data set may have `unlabeled = {"protocol": "full_ranking"}`: what it names wins over its `defaults` where `user` and
`item` are given and no `label`.
"""

from fmlab.contracts.first_points import OPERATIONS, CountsFitting, SuitsOptions
from fmlab.contracts.loss import Loss, ValidatesLabels
from fmlab.contracts.metric import ListMetric, RankMetric, Ranks, ScoreMetric
from fmlab.contracts.model import (
    AddsScores,
    BeginsSteps,
    ChoosesScorers,
    ComparesItems,
    CountsOperations,
    CountsParameters,
    FoldsIn,
    GatesPairs,
    HasRoles,
    InfersOptions,
    LateInteraction,
    ManifoldEmbeddings,
    Model,
    NeedsInteractions,
    Regularized,
    RegularizesBatch,
    ScoresCatalog,
    SharesWork,
    Tempered,
    TwoSided,
    WarmStarts,
    is_late_interaction,
    is_two_sided,
)
from fmlab.contracts.optimizer import EpochSchedule
from fmlab.contracts.row_fitting import FitsRows, Fitting, LabelledRows
from fmlab.contracts.sampler import ChoosesByScore, Sampler
from fmlab.contracts.scheduler import FollowsValidation, Scheduler
from fmlab.contracts.search import (
    BeginsSearchSteps,
    ChoosesByLoss,
    EndsSearch,
    PenalizesGates,
    SearchedTable,
    SearchesPairs,
    SearchSpace,
    StructureSearch,
)
from fmlab.contracts.table import TableGroup, TableLayout
from fmlab.contracts.task import BlockResult, Evaluator, Report, Task, Training
from fmlab.data.source import DataSource, RawFile

__all__ = [
    "OPERATIONS",
    "AddsScores",
    "BeginsSearchSteps",
    "BeginsSteps",
    "BlockResult",
    "ChoosesByLoss",
    "ChoosesByScore",
    "ChoosesScorers",
    "ComparesItems",
    "CountsFitting",
    "CountsOperations",
    "CountsParameters",
    "DataSource",
    "EndsSearch",
    "EpochSchedule",
    "Evaluator",
    "FitsRows",
    "Fitting",
    "FoldsIn",
    "FollowsValidation",
    "GatesPairs",
    "HasRoles",
    "InfersOptions",
    "LabelledRows",
    "LateInteraction",
    "ListMetric",
    "Loss",
    "ManifoldEmbeddings",
    "Model",
    "NeedsInteractions",
    "PenalizesGates",
    "RankMetric",
    "Ranks",
    "RawFile",
    "Regularized",
    "RegularizesBatch",
    "Report",
    "Sampler",
    "Scheduler",
    "ScoreMetric",
    "ScoresCatalog",
    "SearchSpace",
    "SearchedTable",
    "SearchesPairs",
    "SharesWork",
    "StructureSearch",
    "SuitsOptions",
    "TableGroup",
    "TableLayout",
    "Task",
    "Tempered",
    "Training",
    "TwoSided",
    "ValidatesLabels",
    "WarmStarts",
    "is_late_interaction",
    "is_two_sided",
]
