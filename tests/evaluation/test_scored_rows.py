"""Rows scored against their labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scorers import Constant, Sides, States, Whole, data
from sklearn.metrics import log_loss, roc_auc_score

from fmlab.data import Dataset, Field, Schema, Table
from fmlab.data.batch import Tables
from fmlab.errors import DataError, FmlabError
from fmlab.evaluation import ScoredRows, evaluate, planted_scorer

METRICS = ("auc", "logloss", "rmse", "mae")
ROWS = np.random.default_rng(0).permutation(90)[:50]


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("kind", [Whole, Sides, States])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_metrics_are_those_of_all_rows_at_once(kind: type[Whole], size: int, context: bool) -> None:
    dataset = data(0, context=context)
    model = kind(dataset.schema)
    report = evaluate(ScoredRows(dataset, ROWS, METRICS, size=size), model, dataset)
    rows = np.sort(ROWS)
    scores = model(torch.from_numpy(dataset.row_ids(rows).ids)).double().numpy()
    label = dataset.label[rows]
    assert report.values["auc"] == pytest.approx(roc_auc_score(label, scores))
    assert report.values["logloss"] == pytest.approx(log_loss(label, 1 / (1 + np.exp(-scores))))
    assert report.values["rmse"] == pytest.approx(np.sqrt(np.mean((scores - label) ** 2)))
    assert report.units["row"].tolist() == rows.tolist()
    assert report.units["mae"] == pytest.approx(np.abs(scores - label))
    assert report.units["auc"].mean() == pytest.approx(report.values["auc"], rel=1e-6)


def test_scores_are_clipped_to_bounds_before_errors_are_taken_and_order_is_not() -> None:
    dataset = data(0)
    model = Whole(dataset.schema)
    rows = np.sort(ROWS)
    scores = model(torch.from_numpy(dataset.row_ids(rows).ids)).double().numpy()
    assert scores.min() < -1
    assert scores.max() > 2
    report = evaluate(ScoredRows(dataset, ROWS, ("rmse", "mae"), bounds=(-1, 2)), model, dataset)
    errors = scores.clip(-1, 2) - dataset.label[rows]
    assert report.values["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert report.units["mae"] == pytest.approx(np.abs(errors))
    clicks = replace(dataset, label=(np.arange(dataset.rows) % 3 == 0).astype(np.float32))
    report = evaluate(ScoredRows(clicks, ROWS, ("auc", "logloss"), bounds=(-1, 2)), model, clicks)
    assert report.values["auc"] == pytest.approx(roc_auc_score(clicks.label[rows], scores))
    assert report.values["logloss"] == pytest.approx(np.logaddexp(0, -scores * (2 * clicks.label[rows] - 1)).mean())


def test_two_processes_that_share_the_blocks_report_the_same() -> None:
    dataset = data(0)
    model, evaluation, tables = Sides(dataset.schema), ScoredRows(dataset, ROWS, METRICS, size=8), Tables.of(dataset)
    outcomes = [evaluation.block(n, model, tables, None) for n in (0, 2, 4, 6, 1, 3, 5, 1)]  # one of them twice
    unit = torch.cat([o.unit for o in outcomes]).numpy()
    columns = {k: torch.cat([o.columns[k] for o in outcomes]).numpy() for k in ("score", "label")}
    shared, alone = evaluation.finish(unit, columns), evaluate(evaluation, model, dataset)
    assert shared.values == alone.values
    assert (shared.units["mae"] == alone.units["mae"]).all()


def test_rows_that_are_all_context_are_scored() -> None:
    rng = np.random.default_rng(0)
    schema = Schema((Field("a", "context", 4), Field("b", "context", 3, numeric=False)))
    ids = np.stack([rng.integers(0, 4, 30), 4 + rng.integers(0, 3, 30)], 1).astype(np.int32)
    dataset = Dataset("clicks", schema, 30, context=Table(ids), label=(ids[:, 0] > 1).astype(np.float32))

    class Sum(torch.nn.Module):
        def forward(self, ids: torch.Tensor, values: None = None) -> torch.Tensor:
            return ids.sum(-1).float()

    report = evaluate(ScoredRows(dataset, np.arange(30), ("auc",), size=4), Sum(), dataset)
    assert report.values["auc"] == pytest.approx(roc_auc_score(dataset.label, ids.sum(1)))


def test_auc_of_one_class_is_undefined_not_one_half() -> None:
    dataset = replace(data(0), label=np.ones(90, np.float32))
    with pytest.raises(DataError, match="undefined on one class: all 50 labels are positive"):
        evaluate(ScoredRows(dataset, ROWS, ("auc",)), Constant(), dataset)


def test_a_constant_model_tells_nothing_apart() -> None:
    dataset = data(0)
    report = evaluate(ScoredRows(dataset, ROWS, METRICS), Constant(), dataset)
    assert report.values["auc"] == 0.5
    assert report.values["logloss"] == pytest.approx(np.log(2))


def test_scores_that_are_not_finite_are_refused() -> None:
    dataset = data(0)
    with pytest.raises(FmlabError, match="non-finite scores"):
        evaluate(ScoredRows(dataset, ROWS, METRICS), Constant(float("nan")), dataset)


def test_the_planted_score_is_taken_by_indices() -> None:
    dataset = data(0)
    t, rows = dataset.truth, np.sort(ROWS)
    u, i = dataset.user[rows], dataset.item[rows]
    score = t.user_bias[u] + t.item_bias[i] + (t.user[u] * t.item[i]).sum(1)
    report = evaluate(ScoredRows(dataset, ROWS, ("auc",)), planted_scorer(dataset), dataset)
    assert report.values["auc"] == pytest.approx(roc_auc_score(dataset.label[rows], score))


def test_rows_need_labels() -> None:
    with pytest.raises(DataError, match="need labels"):
        ScoredRows(replace(data(0), label=None), ROWS, METRICS)


@pytest.mark.parametrize("weighted", [False, True])
def test_reliability_stands_beside_the_figures_where_labels_are_0_and_1(weighted: bool) -> None:
    dataset = data(0)
    weight = np.random.default_rng(1).random(dataset.rows).astype(np.float32) if weighted else None
    dataset = replace(dataset, weight=weight)
    model, rows = Whole(dataset.schema), np.sort(ROWS)
    found = evaluate(ScoredRows(dataset, ROWS, ("logloss",)), model, dataset).details["reliability"]
    probability = torch.sigmoid(model(torch.from_numpy(dataset.row_ids(rows).ids)).double()).numpy()
    each, label = np.ones(len(rows)) if weight is None else weight[rows].astype(float), dataset.label[rows]
    assert found["copc"] == pytest.approx((each * label).sum() / (each * probability).sum())
    curve = found["curve"]
    assert 1 < len(curve) <= 15
    assert sum(c["rows"] for c in curve) == pytest.approx(each.sum())
    assert [c["probability"] for c in curve] == sorted(c["probability"] for c in curve)
    gaps = sum(c["rows"] * abs(c["label"] - c["probability"]) for c in curve)
    assert found["ece"] == pytest.approx(gaps / each.sum())
    other = replace(dataset, label=dataset.label * 2)
    assert "reliability" not in evaluate(ScoredRows(other, ROWS, ("rmse",)), model, other).details
