"""What a model is asked for while it is trained: the step before it begins, a penalty with every loss."""

import csv
from pathlib import Path

import pytest
import torch
from fmlab_models.fm import FM
from in_process import SignalAt, train
from torch import Tensor

BATCHES = 8  # of an epoch


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file)]


def test_steps_count_the_whole_run_and_go_on_after_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    monkeypatch.setattr(FM, "begin_step", lambda self, step: steps.append(step), raising=False)
    settings = ("model=fm", "trainer.max_epochs=3")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", *settings, callbacks=[SignalAt(BATCHES + 3)])
    assert steps == list(range(BATCHES + 4))
    train(tmp_path / "run", *settings, f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt")
    assert steps == list(range(3 * BATCHES))


def test_a_penalty_of_the_model_is_part_of_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ("model=fm", "trainer.max_epochs=1", "optimizer=sgd", "optimizer.lr=1e-9")
    train(tmp_path / "plain", *settings)

    def regularization(self: FM) -> Tensor:
        return 7.0 + self.bias * 1e3

    monkeypatch.setattr(FM, "regularization", regularization, raising=False)
    train(tmp_path / "penalty", *settings)
    assert losses(tmp_path / "penalty")[0] == pytest.approx(losses(tmp_path / "plain")[0] + 7, abs=0.02)
    bias = torch.load(tmp_path / "penalty/checkpoints/last.ckpt", weights_only=True)["state_dict"]["model.bias"]
    assert bias.item() == pytest.approx(-1e-9 * 1e3 * BATCHES, rel=0.01), "its gradient moves the parameters"
