"""The contract tests that third parties subclass, run over optimizers, metrics and data sets of fmlab."""

from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from fmlab.contracts import Loss, RankMetric, Scheduler, ScoreMetric, Task
from fmlab.data import Dataset
from fmlab.plugin.registry import build
from fmlab.testing import (
    KINDS,
    DataContract,
    Kind,
    LossContract,
    MetricContract,
    OptimizerContract,
    ProtocolContract,
    SchedulerContract,
    candidates,
    checkerboard,
    labeled,
    tiny,
)


def many(kind: Kind) -> Dataset:
    """A tiny data set with so many rows that each user has several, one at a time."""
    data = tiny(kind)
    rng, rows = np.random.default_rng(0), np.arange(4 * data.rows) % data.rows
    user = None if data.user is None else rng.permutation(np.repeat(np.arange(7), 14)[: len(rows)]).astype(np.int32)
    item = None if data.item is None else np.arange(len(rows)).astype(np.int32) * 3 % 11
    context = None if data.context is None else data.context.take(rows)
    return replace(
        data,
        rows=len(rows),
        user=user,
        item=None if item is None else item.astype(np.int32),
        context=context,
        label=(rng.random(len(rows)) < 0.5).astype(np.float32),
        time=np.arange(len(rows)).astype(np.int64) * 3600,
    )


def _ours(kind: str) -> list[str]:
    return sorted(e.name for e in entry_points(group=f"fmlab.{kind}") if e.value.startswith("fmlab_"))


def _optimizer(name: str) -> type[OptimizerContract]:
    def make(self: OptimizerContract, parameters: Iterable[nn.Parameter]) -> Optimizer:
        rate = 10.0 if name == "adadelta" else 0.1  # its steps begin tiny
        return build("optimizer", {"name": name, "lr": rate}, list(parameters))

    return type(f"Test_{name}", (OptimizerContract,), {"make": make})


def _scheduler(name: str) -> type[SchedulerContract]:
    def make(self: SchedulerContract, steps: int, epoch_steps: int) -> Scheduler | None:
        return build("scheduler", {"name": name}, steps, epoch_steps)

    return type(f"Test_scheduler_{name}", (SchedulerContract,), {"make": make})


def _metric(name: str) -> type[MetricContract]:
    def make(self: MetricContract) -> RankMetric | ScoreMetric:
        return build("metric", {"name": name})

    return type(f"Test_{name}", (MetricContract,), {"make": make})


def _protocol(name: str) -> type[ProtocolContract]:
    def make(self: ProtocolContract, dataset: Dataset) -> Task:
        few = {"n_candidates": 3} if name == "leave_one_out" else {}
        return build("protocol", {"name": name, **few}, dataset, gives=Task)

    def data(self: ProtocolContract, kind: Kind) -> Dataset:
        return many(kind)

    return type(f"Test_{name}", (ProtocolContract,), {"make": make, "data": data, "name": name})


for _name in _ours("protocol"):
    globals()[f"Test_{_name}"] = _protocol(_name)
for _name in _ours("optimizer"):
    globals()[f"Test_{_name}"] = _optimizer(_name)
for _name in _ours("scheduler"):
    globals()[f"Test_scheduler_{_name}"] = _scheduler(_name)
for _name in _ours("metric"):
    globals()[f"Test_{_name}"] = _metric(_name)


class TestSynthetic(DataContract):
    def make(self, folder: Path) -> Dataset:
        return build("data", {"name": "synthetic", "users": 40, "items": 30}, folder).build({}, folder)


class TestCheckerboard(DataContract):
    def make(self, folder: Path) -> Dataset:
        return checkerboard().dataset


@pytest.mark.parametrize("kind", KINDS)
class TestTiny(DataContract):
    @pytest.fixture
    def dataset(self, tmp_path: Path, kind: Kind) -> Dataset:
        self.kind = kind
        return self.make(tmp_path)

    def make(self, folder: Path) -> Dataset:
        return tiny(self.kind)


def test_candidates_never_repeat_their_positive_as_a_negative() -> None:
    batch = candidates(tiny("context"), negatives=5)
    assert batch.item is not None
    assert (batch.item[:, 1:] != batch.item[:, :1]).all()
    assert batch.label.sum(1).tolist() == [1.0] * batch.size


def test_labelled_rows_are_the_rows_of_the_data_set() -> None:
    dataset = tiny("numeric")
    rows, expected = labeled(dataset, np.array([4, 9])).rows(), dataset.row_ids(np.array([4, 9]))
    np.testing.assert_array_equal(rows.ids.numpy(), expected.ids)
    assert rows.values is not None
    np.testing.assert_array_equal(rows.values.numpy(), expected.values)


def test_held_out_pairs_of_the_checkerboard_are_liked_and_not_trained_on() -> None:
    task = checkerboard()
    assert task.train.user is not None
    assert task.train.item is not None
    trained = set(zip(task.train.user.tolist(), task.train.item[:, 0].tolist(), strict=True))
    held = set(zip(task.user.tolist(), task.item.tolist(), strict=True))
    assert held
    assert not held & trained

    def likes(u: Any, i: Any) -> Any:
        return ((u + i) % 2 == 0) | (i % 3 == 0)

    assert likes(task.user, task.item).all()
    assert not likes(np.arange(len(task.disliked))[:, None], task.disliked).any()
    assert not likes(task.train.user.numpy()[:, None], task.train.item[:, 1:].numpy()).any()


def test_contracts_catch_what_they_are_for() -> None:
    class Summed(LossContract):
        def make(self) -> Loss:
            return lambda model, batch: model(*batch.rows()).square().sum()

    class Lost(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            super().step(closure)
            for parameter in (p for g in self.param_groups for p in g["params"]):
                parameter.data.sqrt_()

    class Blind(OptimizerContract):
        def make(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
            return Lost(parameters, lr=0.1)

    class Upside(MetricContract):
        def make(self) -> RankMetric | ScoreMetric:
            metric = build("metric", {"name": "mrr"})
            metric.maximize = False
            return metric

    with pytest.raises(AssertionError):
        Summed().test_it_is_a_mean_over_rows(labeled(tiny("interactions")))
    with pytest.raises(AssertionError):
        Blind().test_points_stay_on_their_manifold(
            build("model", {"name": "hyperml"}, tiny("context").schema).manifold, 1e6
        )
    with pytest.raises(AssertionError):
        Upside().test_a_better_rank_is_never_worse()
