"""A model that trains itself on rows goes through a run as any other does: trained, judged, recorded, served."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from in_process import metrics, train
from pytorch_lightning import Callback

from fmlab.errors import DataError
from fmlab.serving import load_run

pytest.importorskip("lightgbm")
TREES = ("model=lightgbm", "model.rounds=30", "model.leaves=15", "model.lr=0.3", "protocol=rating")


class EndAt(Callback):
    """Ends the training of a model that trains itself."""

    def __init__(self, number: int) -> None:
        self.number = number

    def on_round(self, number: int) -> bool:
        return number < self.number


def test_trees_are_trained_judged_and_served(tmp_path: Path) -> None:
    train(tmp_path / "run", *TREES)
    found = metrics(tmp_path / "run")
    assert found["status"] == "complete"
    assert 1 <= found["epochs"] <= 30
    constant = (1 - (1 / 3) ** 2) ** 0.5  # of a third +1 and the rest -1
    assert found["test"]["rmse"] < constant
    run = load_run(tmp_path / "run")
    frame = pd.DataFrame({"user": ["1", "2"], "item": ["3", "4"]})
    frame = frame.reindex(columns=run.columns, fill_value="1")
    assert torch.isfinite(torch.tensor(run.predict(frame)["score"].to_numpy())).all()


def test_a_callback_ends_the_training_and_the_best_round_is_kept(tmp_path: Path) -> None:
    train(tmp_path / "run", *TREES, callbacks=[EndAt(2)])
    assert metrics(tmp_path / "run")["epochs"] <= 3


def test_a_protocol_without_labelled_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="protocol=ctr, protocol=rating"):
        train(tmp_path / "run", "model=lightgbm", "protocol=full_ranking")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_loss_of_pairs_is_refused(tmp_path: Path) -> None:
    """Scores are log-odds or labels, which a loss that compares items does not say: log losses would be false."""
    rows = pd.DataFrame({"page": range(60), "ad": [0, 1, 2] * 20, "y": [0, 1] * 30})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    labeled = ("protocol=composed", "protocol.evaluation=rows", "protocol.split=random", "data=csv", "data.label=y")
    with pytest.raises(DataError, match="got loss=bpr; choices: loss=bce, loss=squared"):
        train(tmp_path / "run", "model=lightgbm", f"data.path={tmp_path / 'rows.csv'}", *labeled, small=())
