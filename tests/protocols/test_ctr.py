"""Labeled rows, split at random or as given."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from toys import interactions

from fmlab.contracts import Task
from fmlab.data import Dataset, Field, PositivesRule, Schema, Table
from fmlab.errors import DataError, FmlabError
from fmlab.evaluation import evaluate
from fmlab.plugin.registry import build, schema


def clicks(rows: int = 200, low: float = 0, **more) -> Dataset:
    rng = np.random.default_rng(0)
    ids = np.stack([rng.integers(0, 4, rows), 4 + rng.integers(0, 3, rows)], 1).astype(np.int32)
    label = np.where(rng.random(rows) < 0.4, 1, low).astype(np.float32)
    fields = (Field("a", "context", 4), Field("b", "context", 3))
    return Dataset("clicks", Schema(fields), rows, context=Table(ids), **{"label": label, **more})


def task(data: Dataset, **options) -> Task:
    return build("protocol", {"name": "ctr", **options}, data)


def test_the_defaults_are_those_of_the_papers() -> None:
    assert schema("protocol", "ctr").defaults == {"loss": "bce", "batch_size": 4096}
    t = task(clicks())
    assert (t.monitor, t.maximize, t.training.negatives) == ("logloss", False, 0)
    assert [len(r) for r in (t.training.rows, t.validation.rows, t.test.rows)] == [160, 20, 20]
    rows = np.concatenate([t.training.rows, t.validation.rows, t.test.rows])
    assert np.sort(rows).tolist() == list(range(200))


def test_metrics_are_those_of_the_test_rows() -> None:
    t = task(clicks(), seed=4)
    assert (t.test.rows != task(clicks(), seed=5).test.rows).any()

    def model(ids: torch.Tensor, values: None = None) -> torch.Tensor:
        return ids.sum(-1).float() / 4 - 1

    report = evaluate(t.test, model, t.dataset)
    score, label = model(torch.from_numpy(clicks().context.ids[t.test.rows])), clicks().label[t.test.rows]
    assert report.values["auc"] == pytest.approx(roc_auc_score(label, score))
    assert report.values["logloss"] == pytest.approx(log_loss(label, torch.sigmoid(score).numpy()), rel=1e-6)


def test_auc_may_select() -> None:
    t = task(clicks(), metrics=["logloss"], monitor="auc")
    assert (t.monitor, t.maximize, list(t.test.metrics)) == ("auc", True, ["logloss", "auc"])


def test_a_given_split_is_taken_unless_asked_otherwise() -> None:
    part = (np.arange(200) % 4).clip(0, 2).astype(np.int8)
    assert task(clicks(split=part)).validation.rows.tolist() == np.flatnonzero(part == 1).tolist()
    assert len(task(clicks(split=part), split="random").validation.rows) == 20
    with pytest.raises(DataError, match="does not come split"):
        task(clicks(), split="given")


def test_labels_of_minus_one_are_read_as_zero_and_others_need_a_threshold() -> None:
    assert (task(clicks(low=-1)).dataset.label == task(clicks()).dataset.label).all()
    stars = clicks(label=np.arange(200).astype(np.float32) % 5 + 1)
    with pytest.raises(DataError, match=r"got 1, 2, 3, 4, 5; protocol\.min_label=<number>.*protocol=rating"):
        task(stars)
    assert task(stars, min_label=4).dataset.label.mean() == 0.4
    with pytest.raises(DataError, match=r"has no labels.*add protocol=full_ranking, or data\.label=COLUMN"):
        task(interactions([(0, 0), (1, 1), (2, 2)]))
    with pytest.raises(DataError, match=r"add data\.label=COLUMN, or data\.user=COLUMN data\.item=COLUMN protocol="):
        task(clicks(label=None))
    with pytest.raises(DataError, match="got 0, nan"):
        task(clicks(label=np.array([0, np.nan] * 100, np.float32)))


def test_the_rule_of_the_data_set_makes_classes_where_the_protocol_names_none() -> None:
    stars = clicks(label=np.arange(200).astype(np.float32) % 5 + 1, rule=PositivesRule(min_label=4))
    t = task(stars)
    assert t.dataset.label.tolist() == (stars.label >= 4).tolist()
    assert t.dataset.steps[-1].name == "label 1 where it was >= 4: 80 rows"
    assert task(stars, min_label=5).dataset.label.mean() == 0.2


def test_a_part_of_one_class_is_refused_with_its_counts() -> None:
    label = np.arange(200) % 2
    label[150:175] = 0
    part = np.repeat([0, 1, 2], [150, 25, 25]).astype(np.int8)
    with pytest.raises(DataError, match="labels 1: train 75 of 150, validation 0 of 25, test 13 of 25"):
        task(clicks(label=label.astype(np.float32), split=part))


def test_ranks_are_no_metric_of_rows() -> None:
    with pytest.raises(FmlabError, match="scores rows"):
        task(clicks(), metrics=["mrr"])


@pytest.mark.parametrize("given", [False, True])
def test_labels_that_say_neither_are_in_no_part(given: bool) -> None:
    rng = np.random.default_rng(0)
    pairs = [(u, i) for u in range(20) for i in range(15)]
    stars = rng.integers(1, 6, len(pairs)).astype(np.float32)
    split = (rng.permutation(len(pairs)) % 3).astype(np.int8) if given else None
    data = interactions(pairs, label=stars, split=split)
    t = task(data, min_label=4, max_negative=2)
    rows = [t.training.rows, t.validation.rows, t.test.rows]
    held = np.sort(np.concatenate(rows))
    assert held.tolist() == np.flatnonzero(stars != 3).tolist()
    assert np.asarray(t.dataset.label)[held].tolist() == (stars[held] >= 4).tolist()
    if given:
        assert [r.tolist() for r in rows] == [np.flatnonzero((split == n) & (stars != 3)).tolist() for n in range(3)]
    else:
        assert [len(r) for r in rows[1:]] == [round(0.1 * len(held))] * 2
    assert f"in no part: {(stars == 3).sum()} rows" in t.dataset.steps[-1].name
