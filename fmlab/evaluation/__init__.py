"""Evaluation of ranked lists and of scored rows; tests of significance are in `fmlab.report.significance`."""

from typing import Any

import torch

from fmlab.contracts import Evaluator, Report
from fmlab.data import Array, Dataset
from fmlab.data.batch import Tables
from fmlab.evaluation.item_scorer import PlantedScorer, planted_scorer
from fmlab.evaluation.metric_names import metric, rank_metric, score_metric, with_monitor
from fmlab.evaluation.ranked_lists import RankedLists
from fmlab.evaluation.scored_rows import ScoredRows, selecting_metric

__all__ = [
    "PlantedScorer",
    "RankedLists",
    "ScoredRows",
    "evaluate",
    "metric",
    "planted_scorer",
    "rank_metric",
    "score_metric",
    "selecting_metric",
    "with_monitor",
]


def evaluate(
    evaluation: Evaluator,
    scorer: Any,
    dataset: Dataset,
    device: torch.device | None = None,
    history: Array | None = None,
) -> Report:
    """All blocks in this process: what a trainer does, without one.

    `scorer` is a model in evaluation mode on `device` (CPU if not given), or what `planted_scorer` gives. `history`:
    the rows that histories are made of, for models that ask for them.
    """
    tables = Tables.of(dataset, history).to(device or torch.device("cpu"))
    state = evaluation.start(scorer, tables)
    outcomes = [evaluation.block(n, scorer, tables, state) for n in range(len(evaluation))]
    names = outcomes[0].columns if outcomes else ()
    columns = {name: torch.cat([o.columns[name] for o in outcomes]).numpy() for name in names}
    return evaluation.finish(torch.cat([o.unit for o in outcomes]).numpy(), columns)
