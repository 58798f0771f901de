"""All that a plugin or a program may import of fmlab; what is not here may change with any release.

| for          | names                                                                                      |
|--------------|--------------------------------------------------------------------------------------------|
| every plugin | `Range`, `Renamed`, `UsedWith`, `FmlabError`, `DataError`                                  |
| a data set   | `DataSource`, `RawFile`, `Dataset`, `Schema`, `Field`, `Table`, `PreparationStep`,         |
|              | `FieldEncoding`, `PublishedFigure`, `Array`, `Ragged`, `encode_table`, `with_vectors`,     |
|              | `read_vectors`, `lines`                                                                    |
| a protocol   | `Task`, `Training`, `Evaluator`, `Report`, `RankedLists`, `ScoredRows`, `UserItemSet`      |
| a model      | `TwoSided`, `LateInteraction`, `NeedsInteractions`, `WarmStarts`, `ManifoldEmbeddings`,    |
|              | `BeginsSteps`, `Regularized`, `RegularizesBatch`, `HasRoles`, `ChoosesScorers`,            |
|              | `SharesWork`, `GatesPairs`, `History`, `Sequence`                                          |
| a loss       | `Batch`, `score`, `require_candidates`, `tempered_score`, `mean_over_rows`                 |
| a sampler    | `Sampler`, `ChoosesByScore`, `SamplingBatch`, `random_numbers`, `draw_weighted`            |
| a metric     | `ListMetric`, `Ranks`, `ScoreMetric`                                                       |
| a search     | `StructureSearch`, `SearchSpace`, `SearchedTable`                                          |
| a program    | `run`, `load_run`                                                                          |

A name is imported when it is asked for: a data set needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fmlab.contracts import BeginsSteps as BeginsSteps
    from fmlab.contracts import ChoosesByScore as ChoosesByScore
    from fmlab.contracts import ChoosesScorers as ChoosesScorers
    from fmlab.contracts import Evaluator as Evaluator
    from fmlab.contracts import GatesPairs as GatesPairs
    from fmlab.contracts import HasRoles as HasRoles
    from fmlab.contracts import LateInteraction as LateInteraction
    from fmlab.contracts import ListMetric as ListMetric
    from fmlab.contracts import ManifoldEmbeddings as ManifoldEmbeddings
    from fmlab.contracts import NeedsInteractions as NeedsInteractions
    from fmlab.contracts import RankMetric as RankMetric
    from fmlab.contracts import Ranks as Ranks
    from fmlab.contracts import Regularized as Regularized
    from fmlab.contracts import RegularizesBatch as RegularizesBatch
    from fmlab.contracts import Report as Report
    from fmlab.contracts import Sampler as Sampler
    from fmlab.contracts import ScoreMetric as ScoreMetric
    from fmlab.contracts import SearchedTable as SearchedTable
    from fmlab.contracts import SearchSpace as SearchSpace
    from fmlab.contracts import SharesWork as SharesWork
    from fmlab.contracts import StructureSearch as StructureSearch
    from fmlab.contracts import Task as Task
    from fmlab.contracts import Training as Training
    from fmlab.contracts import TwoSided as TwoSided
    from fmlab.contracts import WarmStarts as WarmStarts
    from fmlab.data import Array as Array
    from fmlab.data import Dataset as Dataset
    from fmlab.data import Field as Field
    from fmlab.data import FieldEncoding as FieldEncoding
    from fmlab.data import PreparationStep as PreparationStep
    from fmlab.data import PublishedFigure as PublishedFigure
    from fmlab.data import Ragged as Ragged
    from fmlab.data import Schema as Schema
    from fmlab.data import Table as Table
    from fmlab.data.batch import Batch as Batch
    from fmlab.data.encoding.tables import encode_table as encode_table
    from fmlab.data.encoding.vectors import read_vectors as read_vectors
    from fmlab.data.encoding.vectors import with_vectors as with_vectors
    from fmlab.data.model_inputs import History as History
    from fmlab.data.model_inputs import Sequence as Sequence
    from fmlab.data.negative_sampling import UserItemSet as UserItemSet
    from fmlab.data.raw.archive import lines as lines
    from fmlab.data.source import DataSource as DataSource
    from fmlab.data.source import RawFile as RawFile
    from fmlab.data.weighted_sampling import SamplingBatch as SamplingBatch
    from fmlab.data.weighted_sampling import draw_weighted as draw_weighted
    from fmlab.data.weighted_sampling import random_numbers as random_numbers
    from fmlab.errors import DataError as DataError
    from fmlab.errors import FmlabError as FmlabError
    from fmlab.evaluation import RankedLists as RankedLists
    from fmlab.evaluation import ScoredRows as ScoredRows
    from fmlab.nn.losses import mean_over_rows as mean_over_rows
    from fmlab.nn.losses import require_candidates as require_candidates
    from fmlab.nn.scoring import score as score
    from fmlab.nn.scoring import tempered_score as tempered_score
    from fmlab.plugin.option import Range as Range
    from fmlab.plugin.option import Renamed as Renamed
    from fmlab.plugin.option import UsedWith as UsedWith
    from fmlab.run.experiment import run as run
    from fmlab.serving import load_run as load_run


_WHERE = {
    "fmlab.contracts": "BeginsSteps ChoosesByScore ChoosesScorers Evaluator GatesPairs HasRoles LateInteraction "
    "ListMetric ManifoldEmbeddings NeedsInteractions RankMetric Ranks Regularized RegularizesBatch Report Sampler "
    "ScoreMetric SearchSpace SearchedTable SharesWork StructureSearch Task Training TwoSided WarmStarts",
    "fmlab.data": "Array Dataset Field FieldEncoding PreparationStep PublishedFigure Ragged Schema Table",
    "fmlab.data.model_inputs": "History Sequence",
    "fmlab.data.batch": "Batch",
    "fmlab.data.encoding.vectors": "read_vectors with_vectors",
    "fmlab.data.encoding.tables": "encode_table",
    "fmlab.data.negative_sampling": "UserItemSet",
    "fmlab.data.raw.archive": "lines",
    "fmlab.data.weighted_sampling": "SamplingBatch draw_weighted random_numbers",
    "fmlab.data.source": "DataSource RawFile",
    "fmlab.errors": "DataError FmlabError",
    "fmlab.evaluation": "RankedLists ScoredRows",
    "fmlab.nn.scoring": "score tempered_score",
    "fmlab.nn.losses": "mean_over_rows require_candidates",
    "fmlab.plugin.option": "Range Renamed UsedWith",
    "fmlab.run.experiment": "run",
    "fmlab.serving": "load_run",
}
_MODULE = {name: module for module, names in _WHERE.items() for name in names.split()}

__all__ = sorted(_MODULE)


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"fmlab.api has no {name!r}; it has {', '.join(__all__)}")
    found = getattr(import_module(_MODULE[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return list(__all__)
