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


def test_the_option_of_runs_is_that_of_the_protocol(tmp_path: Path) -> None:
    train(tmp_path / "one", *MF)
    train(tmp_path / "other", *MF, "protocol.refit=false", "refit_on=train+validation")
    found = differences(tmp_path / "one", tmp_path / "other")
    assert all("fmlab.protocol.refit" in line for line in found), found


SHORT = ("trainer.accelerator=cpu", "trainer.threads=1", "trainer.progress=false", "batch_size=64")


@pytest.fixture
def clicks(tmp_path: Path) -> tuple[str, ...]:
    """Options of a file of labeled rows, split 800, 100 and 100, whose tested model is trained on 900."""
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 30, 1000), rng.integers(0, 20, 1000)
    label = ((rng.random((30, 20)) < 0.5)[user, item] ^ (rng.random(1000) < 0.1)).astype(int)
    lines = ["u,i,y", *(f"{a},{b},{c}" for a, b, c in zip(user, item, label, strict=True))]
    (tmp_path / "clicks.csv").write_text("\n".join(lines))
    roles = ("data=csv", "data.user=u", "data.item=i", "data.label=y", f"data.path={tmp_path / 'clicks.csv'}")
    return (*roles, "protocol=ctr", "protocol.on_leak=allow", "refit_on=train+validation")


def test_target_statistics_are_fitted_on_the_rows_that_are_trained_on(tmp_path: Path, clicks: tuple[str, ...]) -> None:
    """The sums of their counts are all rows of both parts, in what is served; groups are those selected."""
    from fmlab.run.serving_file import read_serving_data

    more = ("target_statistics=[user,user*item]", "trainer.max_epochs=2")
    train(tmp_path / "run", "model=lr", *clicks, *more, small=SHORT)
    found = metrics(tmp_path / "run")
    derived = read_serving_data(tmp_path / "run" / "serving.bin").derived
    assert derived is not None
    assert [int(s.count.sum()) for s in derived.statistics] == [900, 900]
    assert [s.fields for s in derived.statistics] == [("user",), ("user", "item")]
    assert found["refit"]["rows"] == 900


def test_a_rate_that_follows_the_validation_falls_where_it_fell(tmp_path: Path, clicks: tuple[str, ...]) -> None:
    """Steps are those of the selected epochs on more rows; the rate of the last of them is that of the best epoch."""
    worse = ("optimizer.lr=0.3", "trainer.max_epochs=6", "scheduler=plateau", "scheduler.factor=0.1")
    train(tmp_path / "run", "model=fm", "model.dim=4", *clicks, *worse, small=SHORT)
    found = metrics(tmp_path / "run")
    lines = [line.split(",") for line in (tmp_path / "run" / "metrics.csv").read_text().splitlines()]
    rates = [float(line[lines[0].index("lr")]) for line in lines[1:]]
    kept = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert rates[-1] < rates[0]
    assert kept["epoch"] == found["best_epoch"]
    assert kept["global_step"] == -(-900 // 64) * (found["best_epoch"] + 1)
    assert kept["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(rates[found["best_epoch"]])


def test_validations_are_told_at_the_same_parts_of_a_longer_training() -> None:
    from types import SimpleNamespace

    from fmlab.run.refit import ValidationReplay
    from fmlab.run.training_length import TrainingLength

    selected = TrainingLength(epochs=3, steps=25, epoch_steps=10, validations=((10, -3.0), (20, -2.0), (25, -2.5)))
    assert selected.steps_of(14) == 35

    class Heard:
        def __init__(self) -> None:
            self.found: list[tuple[int, float]] = []

        def validated(self, value: float) -> None:
            self.found.append((trainer.global_step, value))

        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: Any) -> None:
            return None

    trainer, heard = SimpleNamespace(global_step=0), Heard()
    replay = ValidationReplay(heard, selected, 14)
    for step in range(1, 36):
        trainer.global_step = step
        replay.on_train_batch_end(trainer)
    assert heard.found == [(14, -3.0), (28, -2.0), (35, -2.5)]


def test_a_refit_refuses_what_waits_for_a_validation(tmp_path: Path) -> None:
    with pytest.raises(FmlabError, match="reduce_lr"):
        train(tmp_path / "run", *MF, "trainer.reduce_lr=0.5")


def test_the_l2_of_a_batch_is_trained_with(tmp_path: Path) -> None:
    norms = []
    for l2 in (0.0, 10.0):
        train(tmp_path / str(l2), *MF, "protocol.refit=false", f"model.batch_l2={l2}")
        state = read_checkpoint(tmp_path / str(l2) / "checkpoints" / "best.ckpt")["state_dict"]
        norms.append(float(state["model.tables.item.weight"].norm()))
    assert norms[1] < 0.5 * norms[0]
