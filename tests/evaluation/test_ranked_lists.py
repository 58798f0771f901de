"""Ranks against a double loop, by every path and in every cut of the work."""

import numpy as np
import pytest
import torch
from scorers import Constant, Sides, States, Whole, data, slow_ranks

from fmlab.contracts import Report
from fmlab.data import Dataset
from fmlab.data.batch import Tables
from fmlab.data.negative_sampling import UserItemSet, draw_distinct
from fmlab.errors import DataError, FmlabError
from fmlab.evaluation import RankedLists, evaluate, item_scorer, metric, planted_scorer, rank_metric, score_metric

METRICS = ("mrr", "hr@3", "ndcg", "ndcg@3")
SAMPLED = ("sampled_mrr", "sampled_hr@2")


def ranking(dataset: Dataset, metrics: tuple[str, ...] = METRICS, cells: int | None = None) -> RankedLists:
    rows = np.random.default_rng(1).permutation(dataset.rows)[:40]
    seen = UserItemSet(dataset.user, dataset.item, dataset.schema.n_users, dataset.schema.n_items)
    user = torch.from_numpy(dataset.user[rows].astype(np.int64))
    drawn = draw_distinct(seen, user, torch.from_numpy(rows), 4, seed=0)
    return RankedLists(dataset, rows, seen, metrics, candidates=drawn, cells=cells)


def same(a: Report, b: Report) -> None:
    assert a.values == b.values
    assert a.units.keys() == b.units.keys()
    assert all((a.units[k] == b.units[k]).all() for k in a.units)


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 3])
@pytest.mark.parametrize("kind", [Whole, Sides, States])
def test_ranks_are_those_of_a_double_loop_with_ties(kind: type[Whole], seed: int, context: bool) -> None:
    dataset = data(seed, context=context)
    model = kind(dataset.schema, seed)
    report = evaluate(ranking(dataset, (*METRICS, *SAMPLED)), model, dataset)
    rows = report.units["row"]
    assert (np.diff(rows) > 0).all()
    assert (report.units["user"] == dataset.user[rows]).all()
    rank = np.array(slow_ranks(model, dataset, rows))
    assert len(set(rank % 1)) == 2  # some tie
    assert report.units["mrr"] == pytest.approx(1 / rank, abs=1e-15)
    assert report.units["hr@3"].tolist() == (rank <= 3).tolist()
    assert report.values["ndcg"] == pytest.approx(np.mean(1 / np.log2(1 + rank)))
    evaluation = ranking(dataset, SAMPLED)
    order = np.argsort(evaluation.rows)
    sampled = np.array(slow_ranks(model, dataset, rows, evaluation.candidates[order]))
    assert report.units["sampled_mrr"] == pytest.approx(1 / sampled, abs=1e-15)
    assert report.units["sampled_hr@2"].tolist() == (sampled <= 2).tolist()
    alone = evaluate(evaluation, model, dataset)
    assert alone.values == {k: report.values[k] for k in SAMPLED}


def test_few_items_are_scored_with_all_or_one_by_one_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = data(3, users=40, items=60, rows=700)
    evaluation = ranking(dataset, SAMPLED)
    reports = []
    for worth in (0, 50):
        monkeypatch.setattr(item_scorer, "VECTORS_PER_COPY", worth)
        reports.append(evaluate(evaluation, Sides(dataset.schema), dataset))
    same(*reports)
    same(reports[0], evaluate(evaluation, States(dataset.schema), dataset))


def test_the_paths_of_a_score_agree() -> None:
    dataset = data(3, users=40, items=60, rows=700)
    reports = [evaluate(ranking(dataset), kind(dataset.schema), dataset) for kind in (Whole, Sides, States)]
    same(reports[0], reports[1])
    same(reports[0], reports[2])


@pytest.mark.parametrize("metrics", [METRICS, SAMPLED, (*METRICS, *SAMPLED)])
def test_a_constant_model_stands_in_the_middle(metrics: tuple[str, ...]) -> None:
    dataset = data(0)
    report = evaluate(ranking(dataset, metrics), Constant(), dataset)
    seen = np.bincount(dataset.user, minlength=12)[report.units["user"]]
    if "mrr" in metrics:
        assert report.units["mrr"] == pytest.approx(2 / (2 + 17 - seen))
        assert report.values["hr@3"] < 0.3
    if "sampled_mrr" in metrics:
        assert set(report.units["sampled_mrr"]) == {1 / 3}  # the third of five
        assert report.values["sampled_hr@2"] == 0


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("kind", [Whole, Sides, States])
def test_the_size_of_blocks_and_tiles_changes_nothing(
    kind: type[Whole], context: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = data(0, context=context)
    model = kind(dataset.schema)
    whole = evaluate(ranking(dataset, (*METRICS, *SAMPLED)), model, dataset)
    assert len(ranking(dataset)) == 1
    for cells in (1, 17 * 5, 17 * 39):
        same(evaluate(ranking(dataset, (*METRICS, *SAMPLED), cells), model, dataset), whole)
    for rows in (1, 3, 40):
        monkeypatch.setitem(item_scorer.ROWS, "cpu", rows)
        same(evaluate(ranking(dataset, (*METRICS, *SAMPLED)), model, dataset), whole)
    monkeypatch.setattr(item_scorer, "KEPT", 0)
    same(evaluate(ranking(dataset, (*METRICS, *SAMPLED)), model, dataset), whole)
    alone = evaluate(ranking(dataset, SAMPLED), model, dataset)
    assert alone.values == {k: whole.values[k] for k in SAMPLED}


def test_two_processes_that_share_the_blocks_report_the_same() -> None:
    dataset = data(0)
    model, evaluation, tables = Sides(dataset.schema), ranking(dataset, cells=17 * 6), Tables.of(dataset)
    assert len(evaluation) == 7
    state = evaluation.start(model, tables)
    shares = [[evaluation.block(n, model, tables, state) for n in range(first, 7, 2)] for first in (0, 1)]
    outcomes = [o for share in shares for o in share]
    outcomes.append(outcomes[2])  # a block that a padded sampler gave twice
    unit = torch.cat([o.unit for o in outcomes]).numpy()
    columns = {"rank": torch.cat([o.columns["rank"] for o in outcomes]).numpy()}
    same(evaluation.finish(unit, columns), evaluate(evaluation, model, dataset))


def test_the_planted_score_is_ranked_like_a_model() -> None:
    dataset = data(1)
    truth, planted = dataset.truth, planted_scorer(dataset)

    class ByTable(torch.nn.Module):
        """The planted score, from whole rows."""

        def forward(self, ids: torch.Tensor, values: None = None) -> torch.Tensor:
            user, item = ids[..., 0] - 1, ids[..., dataset.schema.query.stop] - dataset.schema.offsets[2] - 1
            p, q = (torch.from_numpy(a)[i] for a, i in ((truth.user, user), (truth.item, item)))
            return torch.from_numpy(truth.item_bias)[item] + (p * q).sum(-1)

    metrics = (*METRICS, *SAMPLED)
    same(evaluate(ranking(dataset, metrics), planted, dataset), evaluate(ranking(dataset, metrics), ByTable(), dataset))
    assert planted_scorer(Dataset("none", dataset.schema, 0)) is None


@pytest.mark.parametrize("metrics", [METRICS, SAMPLED])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("kind", [Whole, Sides, States])
def test_scores_that_are_not_finite_are_refused(kind: type[Whole], bad: float, metrics: tuple[str, ...]) -> None:
    dataset = data(0)
    for feature in (1, dataset.schema.offsets[2] + 1):  # a user, an item
        model = kind(dataset.schema)
        model.bias[feature] = bad
        if metrics is SAMPLED and kind is not Sides and feature > 1:
            continue  # the item may be no candidate
        with pytest.raises(FmlabError, match="non-finite scores"):
            evaluate(ranking(dataset, metrics), model, dataset)


def test_large_finite_scores_are_accepted() -> None:
    dataset = data(0)
    report = evaluate(ranking(dataset), Constant(3e38), dataset)  # their sum overflows
    same(report, evaluate(ranking(dataset), Constant(), dataset))


@pytest.mark.parametrize("metrics", [METRICS, SAMPLED])
def test_mixed_precision_does_not_round_the_product(metrics: tuple[str, ...]) -> None:
    dataset = data(0)
    model = Sides(dataset.schema)
    model.vector = torch.randn(model.vector.shape, generator=torch.Generator().manual_seed(0))
    plain = evaluate(ranking(dataset, metrics), model, dataset)
    with torch.autocast("cpu", torch.bfloat16):
        same(evaluate(ranking(dataset, metrics), model, dataset), plain)


def test_the_data_and_the_model_are_not_changed() -> None:
    dataset = data(0)
    model, evaluation = Sides(dataset.schema), ranking(dataset)
    same(evaluate(evaluation, model, dataset), evaluate(evaluation, model, dataset))


def test_metrics_are_found_by_name_and_cut_off() -> None:
    assert (metric("hr@7").k, metric("ndcg").k, rank_metric("sampled_ndcg@5").name) == (7, None, "ndcg@5")
    assert not score_metric("logloss").maximize
    with pytest.raises(FmlabError, match="did you mean 'ndcg'"):
        metric("ndgc@10")
    with pytest.raises(FmlabError, match=r"such as hr@10; got 'hr@ten'"):
        metric("hr@ten")
    with pytest.raises(FmlabError, match="k is not an option of auc"):
        metric("auc@10")
    with pytest.raises(FmlabError, match=r"must be a whole number in \[1, inf\)"):
        metric("hr@0")
    assert (rank_metric("auc").name, rank_metric("f1@5").name) == ("auc", "f1@5")
    assert rank_metric("sampled_recall@5:denominator=min").denominator == "min"
    with pytest.raises(FmlabError, match="this protocol ranks items"):
        rank_metric("rmse")
    with pytest.raises(FmlabError, match="written recall@20:denominator=min"):
        metric("recall@20:min")
    with pytest.raises(FmlabError, match="one of relevant, min"):
        metric("recall@20:denominator=all")
    with pytest.raises(FmlabError, match="this protocol scores rows"):
        score_metric("mrr")


def test_sampled_metrics_need_candidates() -> None:
    dataset = data(0)
    seen = UserItemSet(dataset.user, dataset.item, 12, 17)
    with pytest.raises(DataError, match="need sampled candidates"):
        RankedLists(dataset, np.arange(3), seen, ("sampled_mrr",))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@pytest.mark.parametrize("kind", [Whole, Sides, States])
def test_the_accelerator_reports_the_same(kind: type[Whole]) -> None:
    dataset, device = data(0), torch.device("cuda")
    model = kind(dataset.schema)
    there = kind(dataset.schema)
    there.bias, there.vector = there.bias.to(device), there.vector.to(device)
    metrics = (*METRICS, *SAMPLED)
    same(
        evaluate(ranking(dataset, metrics), there, dataset, device), evaluate(ranking(dataset, metrics), model, dataset)
    )
    planted = planted_scorer(dataset)
    same(evaluate(ranking(dataset), planted, dataset, device), evaluate(ranking(dataset), planted, dataset))
