"""Runs with tables that are not whole: learned, resumed, judged, served and counted as those with whole tables."""

from pathlib import Path

import numpy as np
import pytest
from in_process import SignalAt, differences, metrics, train

from fmlab.serving import load_run
from fmlab.serving.model_export import sample

TABLES = {
    "hashed": ("table=hashed", "table.buckets=60"),
    "qr": ("table=qr", "table.collisions=2"),
    "tensor_train": ("table=tensor_train", "table.rank=4"),
    "mixed": ("table=mixed", "table.alpha=0.5"),
}
FM = ("model=fm", "model.dim=8", "optimizer.lr=0.02")
every_table = pytest.mark.parametrize("name", TABLES)


@every_table
def test_a_run_that_was_stopped_is_the_run_that_was_not(name: str, tmp_path: Path) -> None:
    settings = (*FM, *TABLES[name], "trainer.max_epochs=2")
    train(tmp_path / "whole", *settings)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", *settings, callbacks=[SignalAt(5)])
    train(tmp_path / "stopped", *settings, "if_exists=resume")
    assert differences(tmp_path / "whole", tmp_path / "stopped") == []


@every_table
def test_a_planted_task_is_learned(name: str, tmp_path: Path) -> None:
    train(tmp_path / "run", *FM, *TABLES[name], "trainer.max_epochs=20")
    found = metrics(tmp_path / "run")
    assert found["validation"]["ndcg"] > 0.4  # popularity has .28
    assert found["bytes"] == 4 * found["parameters"]


@every_table
def test_a_loaded_run_scores_as_it_was_trained(name: str, tmp_path: Path) -> None:
    train(tmp_path / "run", *FM, *TABLES[name], "trainer.max_epochs=1")
    run = load_run(tmp_path / "run")
    said = run.export(tmp_path / "out", ["torch"])
    assert said[0].startswith("torch: at most ")
    assert np.isfinite(run.score(sample(run.data, 20))["score"]).all()
