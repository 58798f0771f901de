"""Rows with weights, groups and several targets: in the loss, in the batches, in the figures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch import Tensor, nn

from fmlab.contracts import Training
from fmlab.data import Dataset
from fmlab.errors import DataError, FmlabError
from fmlab.evaluation import ScoredRows, evaluate, selecting_metric
from fmlab.evaluation.target_losses import TargetLosses, loss_of_targets
from fmlab.plugin.registry import build
from fmlab.testing import candidates, labeled, tiny
from fmlab.training.loader import TrainingLoader
from fmlab.training.sanity_check import try_one_batch

LOSSES = ({"name": "bce"}, {"name": "bce", "reduction": "mean"}, {"name": "squared"})
CANDIDATES = (*LOSSES, {"name": "bpr"}, {"name": "hinge"}, {"name": "sampled_softmax"})


class Scores(nn.Module):
    def __init__(self, features: int, targets: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, generator=torch.Generator().manual_seed(0)))
        self.targets = targets

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor | dict[str, Tensor]:
        score = self.weight[ids].sum(-1)
        return {t: score * (n + 1) - n for n, t in enumerate(self.targets)} if self.targets else score


def take(data: Dataset, rows: np.ndarray) -> Dataset:
    one = {n: getattr(data, n)[rows] for n in ("user", "item", "label") if getattr(data, n) is not None}
    context = None if data.context is None else data.context.take(rows)
    return replace(data, rows=len(rows), context=context, weight=None, **one)


@pytest.mark.parametrize("options", CANDIDATES, ids=str)
def test_a_row_of_weight_two_costs_what_two_rows_cost(options: dict) -> None:
    data, loss = tiny("interactions"), build("loss", options)
    model, times = Scores(data.schema.n_features), torch.arange(24) % 3
    make = candidates if options in CANDIDATES[3:] else labeled
    batch = make(data)
    weighted = loss(model, replace(batch, row_weight=times.float())) * batch.size
    again = torch.repeat_interleave(torch.arange(24), times)
    parts = {"user": batch.user[again], "item": batch.item[again], "label": batch.label[again]}
    torch.testing.assert_close(weighted, loss(model, replace(batch, **parts)) * len(again))


def test_weights_have_mean_one_over_the_training_rows_and_follow_them() -> None:
    data = replace(tiny("rows"), weight=np.arange(24, dtype=np.float32))
    rows = np.arange(4, 24)
    loader = TrainingLoader(data, Training(rows), batch_size=6, seed=0)
    seen = list(loader)
    weight = torch.cat([b.row_weight for b in seen])
    assert float(weight.double().mean()) == pytest.approx(1)
    sizes = torch.cat([b.context.values[:, -1] for b in seen])  # the numbers of a row tell it
    order = [int(np.flatnonzero(data.context.values[:, -1] == size.item())[0]) for size in sizes]
    np.testing.assert_allclose(weight, np.arange(24)[order] / np.arange(4, 24).mean(), rtol=1e-6)
    loaders = [TrainingLoader(data, Training(rows), batch_size=6, seed=0) for _ in range(2)]
    shares = [list(own.place(torch.device("cpu"), rank, 2)) for rank, own in enumerate(loaders)]
    for n, batch in enumerate(seen):
        assert torch.equal(torch.cat([s[n].row_weight for s in shares]), batch.row_weight)


def test_equal_weights_change_no_bit() -> None:
    data = tiny("rows")
    plain, same = (
        list(TrainingLoader(d, Training(np.arange(24)), batch_size=7, seed=1))
        for d in (data, replace(data, weight=np.full(24, 0.3, np.float32)))
    )
    model, loss = Scores(data.schema.n_features), build("loss", {"name": "bce"})
    for a, b in zip(plain, same, strict=True):
        assert torch.equal(loss(model, a), loss(model, b))


def test_figures_of_weighted_rows_are_those_of_repeated_rows() -> None:
    data, times = tiny("rows"), np.arange(24) % 3
    names = ("auc", "logloss", "brier", "ece", "pr_auc")
    weighted = ScoredRows(replace(data, weight=times.astype(np.float32)), np.arange(24), names)
    again = np.repeat(np.arange(24), times)
    repeated = ScoredRows(take(data, again), np.arange(len(again)), names)
    model = Scores(data.schema.n_features)
    found = evaluate(weighted, model, weighted.dataset)
    assert found.values == pytest.approx(dict(evaluate(repeated, model, repeated.dataset).values), rel=1e-9)
    assert found.units["logloss"].mean() == pytest.approx(found.values["logloss"])
    assert found.details["ece"]["curve"][0].keys() == {"probability", "label", "rows"}


def test_a_metric_or_a_loss_that_ignores_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        name, maximize = "plain", True

        def of_scores(self, score: np.ndarray, label: np.ndarray) -> tuple[float, None]:
            return float(score.mean()), None

    data = replace(tiny("rows"), weight=np.ones(24, np.float32))
    monkeypatch.setattr("fmlab.evaluation.scored_rows.score_metric", lambda _: Plain())
    with pytest.raises(DataError, match="must follow its row weights, plain does not"):
        ScoredRows(data, np.arange(24), ["plain"])
    loader = TrainingLoader(data, Training(np.arange(24)), batch_size=8, seed=0)
    with pytest.raises(FmlabError, match="must follow the weights of rows"):
        try_one_batch(Scores(data.schema.n_features), lambda m, b: m(*b.rows()).square().mean(), loader, name="mine")


def two_targets() -> Dataset:
    data = tiny("rows")
    return replace(data, targets={"click": data.label, "buy": (np.arange(24) % 3 == 0).astype(np.float32)})


def test_every_target_has_its_figures_and_a_plain_name_is_their_mean() -> None:
    data = two_targets()
    model = Scores(data.schema.n_features, ("click", "buy"))
    judge = ScoredRows(data, np.arange(3, 24), ("auc", "logloss", "brier.buy"))
    report = evaluate(judge, model, data)
    scores = model(torch.tensor(data.context.ids))
    expected = {}
    for target in ("click", "buy"):
        label, score = data.targets[target][3:], scores[target].detach().double().numpy()[3:]
        expected[f"auc.{target}"] = roc_auc_score(label, score)
        expected[f"logloss.{target}"] = log_loss(label, 1 / (1 + np.exp(-score)))
    for name in ("auc", "logloss"):
        expected[name] = (expected[f"{name}.click"] + expected[f"{name}.buy"]) / 2
    found = dict(report.values)
    found.pop("brier.buy")
    assert found == pytest.approx(expected)
    assert set(judge.metrics) == set(report.values)
    assert "auc.buy" in report.units
    constant = judge.of_constant({"click": 0.5, "buy": 0.25})
    assert constant.values["logloss.buy"] == pytest.approx(log_loss(data.targets["buy"][3:], np.full(21, 0.25)))


def test_losses_of_targets_are_added_with_their_weights() -> None:
    data = two_targets()
    model = Scores(data.schema.n_features, ("click", "buy"))
    (batch,) = TrainingLoader(data, Training(np.arange(24)), batch_size=24, seed=0)
    scores = model(*batch.rows())
    terms = {
        t: nn.functional.binary_cross_entropy_with_logits(scores[t], batch.targets[t]).item() for t in ("click", "buy")
    }
    for weights, expected in (((), (1, 1)), ((0.5, 3.0), (0.5, 3)), ((0.0, 1.0), (0, 1))):
        loss = loss_of_targets(build("loss", {"name": "bce", "target_weights": weights}), data)
        assert isinstance(loss, TargetLosses)
        assert loss.log_odds
        wanted = expected[0] * terms["click"] + expected[1] * terms["buy"]
        assert loss(model, batch).item() == pytest.approx(wanted, rel=1e-5)


def test_groups_are_those_of_the_data_or_of_the_protocol() -> None:
    from fmlab_protocols._row_groups import group_of

    data = tiny("context")
    assert group_of(data, "auto") is None
    np.testing.assert_array_equal(group_of(data, "user"), data.user)
    first = dict(zip((f.name for f in data.schema.fields), data.schema.offsets, strict=True))
    np.testing.assert_array_equal(group_of(data, "weekday"), data.context.ids[:, 0] - first["weekday"])
    np.testing.assert_array_equal(group_of(data, "group"), data.users.ids[data.user, 1] - first["group"])
    with pytest.raises(DataError, match="'genre' has several values"):
        group_of(data, "genre")
    with pytest.raises(DataError, match="must be auto, or a field; got 'hour'"):
        group_of(data, "hour")
    with pytest.raises(DataError, match="gauc needs groups of rows"):
        ScoredRows(data, np.arange(24), ["gauc"])
    report = evaluate(
        ScoredRows(data, np.arange(24), ["gauc"], group=group_of(data, "user")), Scores(data.schema.n_features), data
    )
    assert 0 <= report.values["gauc"] <= 1
    assert report.details["gauc"]["groups"] > 0


def test_a_metric_with_a_best_value_does_not_select() -> None:
    with pytest.raises(FmlabError, match=r"copc\.buy is best at 1"):
        selecting_metric("copc.buy", ("click", "buy"))
