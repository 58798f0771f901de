"""Training anew on training and validation rows before the test."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_process import SMALL, SignalAt, differences, metrics, train

from fmlab.errors import FmlabError
from fmlab.training.checkpoint_format import read_checkpoint

COMMON = ("protocol=composed", "protocol.refit=true", "trainer.max_epochs=4", "model.dim=4")
MF = ("model=mf", "loss=bpr", *COMMON)


def trained_rows(found: dict[str, Any]) -> int:
    return int(found["protocol_described"]["rows"].partition(" ")[0].replace(",", ""))


def test_a_refit_is_a_run_on_both_parts_for_the_best_epochs(tmp_path: Path) -> None:
    train(tmp_path / "run", *MF)
    found = metrics(tmp_path / "run")
    assert found["refit"]["epochs"] == found["best_epoch"] + 1
    kept = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert kept["epoch"] == found["best_epoch"]
    assert not (tmp_path / "run" / "refit").exists()
    train(tmp_path / "plain", *MF, "protocol.refit=false")
    plain = metrics(tmp_path / "plain")
    assert plain["validation"] == found["validation"]
    assert plain["test"] != found["test"]
    assert found["refit"]["rows"] > trained_rows(found)


def test_a_stopped_refit_goes_on(tmp_path: Path) -> None:
    train(tmp_path / "whole", *MF)
    batches = -(-trained_rows(metrics(tmp_path / "whole")) // 256)
    for name, at in (("first", 1), ("refit", 4 * batches + 1)):
        folder = tmp_path / name
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(folder, *MF, callbacks=[SignalAt(at)])
        assert (folder / "refit").exists() == (name == "refit")
        train(folder, *MF, "if_exists=resume")
        assert not differences(tmp_path / "whole", folder)


def test_a_model_without_parameters_is_fitted_on_both_parts(tmp_path: Path) -> None:
    train(tmp_path / "run", "model=popularity", "protocol=composed", "protocol.refit=true", small=SMALL[:3])
    found = metrics(tmp_path / "run")
    state = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")["state_dict"]
    assert int(state["model.count"].sum()) == found["refit"]["rows"]
    assert np.isfinite(found["test"]["ndcg@20"])
    assert torch.is_tensor(state["model.count"])


def test_a_refit_refuses_what_waits_for_a_validation(tmp_path: Path) -> None:
    with pytest.raises(FmlabError, match="which the scheduler waits for; got scheduler=plateau"):
        train(tmp_path / "plateau", *MF, "scheduler=plateau")
    with pytest.raises(FmlabError, match="reduce_lr"):
        train(tmp_path / "run", *MF, "trainer.reduce_lr=0.5")
