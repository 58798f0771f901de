"""Rows scored one by one against their labels: click-through rates and ratings."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from fmlab.contracts import BlockResult, Report
from fmlab.data import Array, Dataset
from fmlab.data.batch import Batch, Tables, as_features
from fmlab.errors import DataError
from fmlab.evaluation.item_scorer import Planted, refuse_non_finite
from fmlab.evaluation.label_scale import label_scale_of
from fmlab.evaluation.metrics import score_metric
from fmlab.evaluation.scoring import score

ROWS = 1 << 14


class ScoredRows:
    """Judges a model by its scores of labelled rows. Only a score and a label are kept of each row.

    Metrics that take differences from labels see predictions on the scale of the labels
    (`fmlab.evaluation.label_scale`), clipped to `bounds` if there are any; other metrics see the scores.

    `Report.units` holds, in row order, `row` and the contribution of each row to every metric that is a mean.
    """

    def __init__(
        self,
        dataset: Dataset,
        rows: Array,
        metrics: Sequence[str],
        *,
        bounds: tuple[float, float] | None = None,
        size: int = ROWS,
    ) -> None:
        """Raises DataError if the data set has no labels."""
        if dataset.label is None:
            raise DataError(f"scored rows need labels; {dataset.name!r} has none")
        self.metrics = {name: score_metric(name) for name in metrics}
        self.dataset, self.rows = dataset, np.asarray(rows, np.int64)
        self.bounds, self.size = bounds, size

    def __len__(self) -> int:
        """Number of blocks."""
        return -(-len(self.rows) // self.size)

    def start(self, scorer: Any, tables: Tables) -> None:
        """Nothing is done once."""

    @torch.no_grad()
    def block(self, index: int, scorer: Any, tables: Tables, state: Any) -> BlockResult:
        """Scores of one block of rows; raises FmlabError if one is not finite."""
        data, cases = self.dataset, slice(index * self.size, min((index + 1) * self.size, len(self.rows)))
        rows = self.rows[cases]
        assert data.label is not None
        batch = Batch(
            tables,
            _index(data.user, rows),
            _index(data.item, rows),
            None if data.context is None else as_features(data.context.take(rows)),
            torch.from_numpy(np.array(data.label[rows], np.float64)),
            row=torch.from_numpy(rows),
        )
        if isinstance(scorer, Planted):
            assert batch.user is not None
            assert batch.item is not None
            scores = scorer.pairs(batch.user, batch.item)
        else:
            scores = score(scorer, batch.to(_device(tables, scorer)))
        refuse_non_finite(scores)
        columns = {"score": scores.to("cpu", torch.float64), "label": batch.label}
        scale = label_scale_of(scorer)
        if not scale.plain:
            columns["predicted"] = torch.from_numpy(scale.predicted(columns["score"].numpy()))
        return BlockResult(torch.arange(cases.start, cases.stop), columns)

    def finish(self, unit: Array, columns: Mapping[str, Array]) -> Report:
        """Metrics over rows, each counted once; raises DataError where one is undefined."""
        unit, first = np.unique(unit, return_index=True)
        order = np.argsort(self.rows[unit], kind="stable")
        values, units = {}, {"row": self.rows[unit][order]}
        score, label = columns["score"][first][order], columns["label"][first][order]
        found = columns.get("predicted", columns["score"])[first][order]
        found = found if self.bounds is None else np.clip(found, *self.bounds)
        for name, metric in self.metrics.items():
            values[name], each = metric.of_scores(found if _on_label_scale(metric) else score, label)
            if each is not None:
                units[name] = each
        return Report(values, units)

    def of_constant(self, mean: float) -> Report:
        """What one score for all rows gets, the mean label of the training rows: what a model must beat.

        `mean` stands for its log-odds where a metric takes scores for those, which labels 0 and 1 tell. A metric that
        is undefined for these rows is left out.
        """
        order = np.argsort(self.rows, kind="stable")
        label = np.asarray(self.dataset.label, np.float64)[self.rows[order]]
        classes = bool(((label == 0) | (label == 1)).all())
        score = float(np.log(mean / (1 - mean))) if classes and 0 < mean < 1 else mean
        values, units = {}, {}
        for name, metric in self.metrics.items():
            same = np.full(len(label), mean if _on_label_scale(metric) else score)
            try:
                values[name], each = metric.of_scores(same, label)
            except DataError:
                continue
            if each is not None:
                units[name] = each
        return Report(values, units)


def _on_label_scale(metric: Any) -> bool:
    return bool(getattr(metric, "on_label_scale", False))


def _index(column: Array | None, rows: Array) -> torch.Tensor | None:
    return None if column is None else torch.from_numpy(np.asarray(column[rows], np.int64))


def _device(tables: Tables, scorer: Any) -> torch.device:
    for side in (tables.items, tables.users):
        if side is not None:
            return side.ids.device
    # All columns are context: only the model says where it is. One without parameters follows the data.
    return next((p.device for p in getattr(scorer, "parameters", tuple)()), torch.device("cpu"))
