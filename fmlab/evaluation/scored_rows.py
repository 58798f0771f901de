"""Rows scored one by one against their labels: click-through rates and ratings, of one target or several."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fmlab.contracts import BlockResult, Report, ScoreMetric
from fmlab.contracts.metric import row_views, value_on_rows
from fmlab.data import Array, Dataset
from fmlab.data.batch import Batch, Tables, as_features
from fmlab.data.labels import are_zeros_and_ones, probability
from fmlab.errors import DataError, FmlabError
from fmlab.evaluation.item_scorer import PlantedScorer, refuse_non_finite
from fmlab.evaluation.metric_names import score_metric
from fmlab.evaluation.output_transform import output_transform_of
from fmlab.evaluation.probability_calibration import calibration_of
from fmlab.evaluation.reliability import reliability
from fmlab.nn.scoring import score, target_scores

ROWS = 1 << 14
RELIABILITY = "reliability"  # what details have beside those of metrics, where labels are 0 and 1


def column(name: str, target: str) -> str:
    """The name of a column of a target, or of the only one, which is ""."""
    return f"{name}.{target}" if target else name


class _TargetMetric(NamedTuple):
    """A metric of a target, "" where there is one."""

    metric: ScoreMetric
    target: str


class ScoredRows:
    """Judges a model by its scores of labeled rows. Only a score and a label are kept of each row.

    Metrics that take differences from labels see predictions on the scale of the labels
    (`fmlab.evaluation.output_transform`), clipped to `bounds` if there are any; other metrics see the scores. Rows
    count by the data set's row weights, if it has some.

    With several targets, `auc` is judged for each: `auc.click`, `auc.buy`, and `auc` is the mean of them. A metric
    that is listed as `auc.buy` is judged for this target alone.

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
        group: Array | None = None,
        group_names: Array | None = None,
    ) -> None:
        """`group`: int[rows of the data set], for metrics by group; the data set's own unless given.

        `group_names`: what its numbers stand for, in details.

        Raises DataError if the data set has no labels, or not what a metric needs.
        """
        if dataset.label is None:
            raise DataError(f"scored rows need labels; {dataset.name!r} has none")
        self.targets = tuple(dataset.targets)
        self.target_metrics, self.means = _metrics_of_targets(metrics, self.targets)
        self.metrics = {name: self.target_metrics[parts[0]].metric for name, parts in self.means.items()}
        self.metrics |= {name: one.metric for name, one in self.target_metrics.items()}
        self.dataset, self.rows = dataset, np.asarray(rows, np.int64)
        self.group = dataset.group if group is None else group
        self.bounds, self.size, self.group_names = bounds, size, group_names
        for name, metric in self.metrics.items():
            _check_views(name, metric, dataset, self.group)

    def __len__(self) -> int:
        """Number of blocks."""
        return -(-len(self.rows) // self.size)

    def start(self, scorer: Any, tables: Tables) -> None:
        """Nothing is done once."""

    @torch.no_grad()
    def block(self, index: int, scorer: Any, tables: Tables, state: Any) -> BlockResult:
        """Scores of one block of rows; raises FmlabError if one is not finite."""
        cases = slice(index * self.size, min((index + 1) * self.size, len(self.rows)))
        batch = self._batch(self.rows[cases], tables)
        scale, calibration = output_transform_of(scorer), calibration_of(scorer)
        columns: dict[str, Tensor] = {}
        for target, (scores, label) in self._scores(scorer, batch, tables).items():
            refuse_non_finite(scores)
            found = scores.to("cpu", torch.float64)
            if not scale.is_identity:
                columns[column("predicted", target)] = torch.from_numpy(scale.predicted(found.numpy()))
            if scale.shift:
                found = found + scale.shift
            if calibration is not None:
                found = torch.from_numpy(calibration.log_odds(found.numpy(), target))
                columns[column("predicted", target)] = found.sigmoid()
            columns[column("score", target)], columns[column("label", target)] = found, label
        return BlockResult(torch.arange(cases.start, cases.stop), columns)

    def _batch(self, rows: Array, tables: Tables) -> Batch:
        data = self.dataset
        assert data.label is not None
        return Batch(
            tables,
            _index(data.user, rows),
            _index(data.item, rows),
            None if data.context is None else as_features(data.context.take(rows)),
            torch.from_numpy(np.array(data.label[rows], np.float64)),
            row=torch.from_numpy(rows),
            targets={t: torch.from_numpy(np.array(a[rows], np.float64)) for t, a in data.targets.items()},
        )

    def _scores(self, scorer: Any, batch: Batch, tables: Tables) -> dict[str, tuple[Tensor, Tensor]]:
        """Scores and labels of each target, of "" where there is one."""
        if isinstance(scorer, PlantedScorer):
            assert batch.user is not None
            assert batch.item is not None
            return {"": (scorer.pairs(batch.user, batch.item), batch.label)}
        there = batch.to(_device(tables, scorer))
        if not self.targets:
            return {"": (score(scorer, there), batch.label)}
        found = target_scores(scorer, there, self.targets)
        return {target: (found[target], batch.targets[target]) for target in self.targets}

    def finish(self, unit: Array, columns: Mapping[str, Array]) -> Report:
        """Metrics over rows, each counted once; raises DataError where one is undefined."""
        unit, first = np.unique(unit, return_index=True)
        order = np.argsort(self.rows[unit], kind="stable")
        ordered = {name: column[first][order] for name, column in columns.items()}
        return self._report(self.rows[unit][order], ordered)

    def _name_groups(self, details: Mapping[str, Any]) -> None:
        """Names in place of numbers of groups."""
        names = self.group_names
        if names is not None:
            for entry in details.get("by_group", ()):
                entry["group"] = str(names[entry["group"]])

    def of_constant(self, mean: float | Mapping[str, float]) -> Report:
        """What one score for all rows gets, the mean label of the training rows: what a model must beat.

        `mean`, that of each target where there are several, stands for its log-odds where a metric takes scores for
        those, which labels 0 and 1 tell. A metric that is undefined for these rows is left out.
        """
        rows = np.sort(self.rows, kind="stable")
        columns: dict[str, Array] = {}
        means = mean if isinstance(mean, Mapping) else {"": mean}
        for target, value in means.items():
            label = np.asarray(self.dataset.targets[target] if target else self.dataset.label, np.float64)[rows]
            classes = are_zeros_and_ones(label)
            one = float(np.log(value / (1 - value))) if classes and 0 < value < 1 else value
            columns |= {column("score", target): np.full(len(rows), one), column("label", target): label}
            columns[column("predicted", target)] = np.full(len(rows), value)
        return self._report(rows, columns, strict=False)

    def _report(self, rows: Array, columns: Mapping[str, Array], *, strict: bool = True) -> Report:
        """Figures of `rows`, in their order; those that are undefined are left out unless `strict`."""
        values, units, details = {}, {"row": rows}, {}
        weight, group = (None if a is None else np.asarray(a)[rows] for a in (self.dataset.weight, self.group))
        weight = None if weight is None else weight.astype(np.float64)
        for name, (metric, target) in self.target_metrics.items():
            score, label = columns[column("score", target)], columns[column("label", target)]
            if _on_label_scale(metric):
                score = columns.get(column("predicted", target), score)
                score = score if self.bounds is None or not strict else np.clip(score, *self.bounds)
            try:
                values[name], each = value_on_rows(metric, score, label, weight, group)
            except DataError:
                if strict:
                    raise
                continue
            if each is not None:
                units[name] = each
            if strict and (describe := getattr(metric, "details", None)) is not None:
                views = {"weight": weight, "group": group}
                names = inspect.signature(describe).parameters
                details[name] = describe(score, label, **{view: v for view, v in views.items() if view in names})
                self._name_groups(details[name])
        for target in self.targets or ("",) if strict else ():
            score, said = columns[column("score", target)], columns.get(column("predicted", target))
            if said is not None and not np.allclose(said, probability(score)):
                continue  # scores are predictions of the label itself, not log-odds
            found = reliability(score, columns[column("label", target)], weight)
            if found is not None:
                details[column(RELIABILITY, target)] = found
        for name, parts in self.means.items():
            if all(part in values for part in parts):
                values[name] = float(np.mean([values[part] for part in parts]))
        return Report(values, units, details=details)


def _metrics_of_targets(
    metrics: Sequence[str], targets: Sequence[str]
) -> tuple[dict[str, _TargetMetric], dict[str, list[str]]]:
    """Figures by name, and the figures that names of all targets are means of."""
    target_metrics: dict[str, _TargetMetric] = {}
    means: dict[str, list[str]] = {}
    for text in metrics:
        target = next((t for t in targets if text.endswith(f".{t}")), "")
        if not targets or target:
            target_metrics[text] = _TargetMetric(
                score_metric(text.removesuffix(f".{target}") if target else text), target
            )
            continue
        means[text] = [f"{text}.{t}" for t in targets]
        metric = score_metric(text)
        target_metrics |= {name: _TargetMetric(metric, t) for name, t in zip(means[text], targets, strict=True)}
    return target_metrics, means


def _check_views(name: str, metric: ScoreMetric, dataset: Dataset, group: Array | None) -> None:
    """Whether a metric can see what the data have, and the data have what it needs."""
    views = row_views(metric)
    if dataset.weight is not None and "weight" not in views:
        raise DataError(
            f"metrics of {dataset.name!r} must follow its row weights, {name} does not: leave out data.weight, or this "
            "metric"
        )
    if "group" in views and group is None:
        raise DataError(
            f"{name} needs groups of rows: give data.group=COLUMN, or protocol.group=<field>; {dataset.name!r} has none"
        )


def selecting_metric(text: str, targets: Sequence[str] = ()) -> ScoreMetric:
    """The metric that selects models; raises FmlabError for one that is neither better when higher nor when lower."""
    target = next((t for t in targets if text.endswith(f".{t}")), "")
    metric = score_metric(text.removesuffix(f".{target}") if target else text)
    if hasattr(metric, "best"):
        raise FmlabError(
            f"monitor must be a metric that is better the higher or the lower it is; {text} is best at {metric.best:g}"
        )
    return metric


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
