"""A run from its config to its folder: selected on validation, tested once, repeated, resumed, interrupted."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from fmlab.run.loading import load_model
from fmlab.training.checkpoint_format import read_checkpoint

DEEP = ("model=deepfm", "model.hidden=[16]", "model.dropout=0.5", "model.batch_norm=true")
SMALL = ("data.users=200", "data.items=120", "data.positives=12", "batch_size=256", "trainer.accelerator=cpu")


def fmlab(folder: Path, *arguments: str, wait: bool = True) -> subprocess.Popen[str]:
    program = (sys.executable, "-m", "fmlab", *SMALL, f"hydra.run.dir={folder}", "trainer.threads=1", *arguments)
    environment = os.environ | {"FMLAB_CACHE": str(folder.parent / "cache"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    if wait:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
    return process


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def weights(path: Path) -> dict:
    return read_checkpoint(path)["state_dict"]


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def learning_rate(path: Path) -> float:
    return read_checkpoint(path)["optimizer_states"][0]["param_groups"][0]["lr"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "whole"
    fmlab(folder, *DEEP, "trainer.max_epochs=4")
    return folder


def test_a_run_leaves_its_folder(whole: Path) -> None:
    names = {p.relative_to(whole).as_posix() for p in whole.rglob("*") if p.is_file()}
    wanted = {"config.yaml", "environment.json", "metrics.json", "metrics.csv", "units.npz", "run.log"}
    assert wanted | {"checkpoints/best.ckpt", "checkpoints/last.ckpt"} <= names
    content = metrics(whole)
    assert content["status"] == "complete"
    assert content["monitor"] in content["test"]
    units = np.load(whole / "units.npz")
    assert units[content["monitor"]].mean() == pytest.approx(content["test"][content["monitor"]], rel=1e-9)


def test_a_run_counts_the_operations_of_a_score(whole: Path, tmp_path: Path) -> None:
    smaller = tmp_path / "smaller"
    fmlab(smaller, "model=deepfm", "model.hidden=[8]", "trainer.max_epochs=1")
    inputs = load_model(smaller / "checkpoints" / "best.ckpt").get_parameter("first.weight").shape[1]
    wide, narrow = metrics(whole)["flops"], metrics(smaller)["flops"]
    # A hidden unit takes a product and an addition for each input, its function, and its part of the output.
    assert 8 * 2 * inputs < wide - narrow < 8 * (2 * inputs + 16)


def test_the_planted_score_is_the_best_of_a_run(whole: Path) -> None:
    content = metrics(whole)
    assert content["known_best"]["mrr"] > content["test"]["mrr"] > 0


def test_a_model_is_rebuilt_from_its_checkpoint_alone(whole: Path) -> None:
    model = load_model(whole / "checkpoints" / "best.ckpt")
    assert not model.training
    assert same({f"model.{k}": v for k, v in model.state_dict().items()}, weights(whole / "checkpoints" / "best.ckpt"))


def test_a_resumed_run_ends_with_the_weights_of_the_uninterrupted_one(whole: Path, tmp_path: Path) -> None:
    fmlab(tmp_path / "half", *DEEP, "trainer.max_epochs=2")
    half = tmp_path / "half" / "checkpoints" / "last.ckpt"
    fmlab(tmp_path / "rest", *DEEP, "trainer.max_epochs=4", f"ckpt_path={half}")
    last = (whole / "checkpoints" / "last.ckpt", tmp_path / "rest" / "checkpoints" / "last.ckpt")
    assert same(weights(last[0]), weights(last[1]))
    assert metrics(tmp_path / "rest")["test"] == metrics(whole)["test"]
    process = fmlab(tmp_path / "other", *DEEP, "seed=1", f"ckpt_path={half}", wait=False)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 2
    assert "seed: 0 there, 1 here" in output


def test_a_run_resumed_after_its_best_epoch_keeps_that_epoch(tmp_path: Path) -> None:
    settings = ("model=fm", "model.dim=64", "optimizer.lr=0.1", "trainer.patience=null", "trainer.reduce_lr=0.5")
    for name, more in {
        "whole": ("trainer.max_epochs=8",),
        "half": ("trainer.max_epochs=6",),
        "rest": ("trainer.max_epochs=8", f"ckpt_path={tmp_path}/half/checkpoints/last.ckpt"),
    }.items():
        fmlab(tmp_path / name, *settings, *more)
    whole, half, rest = (metrics(tmp_path / name) for name in ("whole", "half", "rest"))
    assert half["best_epoch"] < 5  # otherwise this would show nothing
    assert read_checkpoint(tmp_path / "half" / "checkpoints" / "last.ckpt")["epoch"] == 5
    assert rest["best_epoch"] == whole["best_epoch"] == half["best_epoch"]
    assert rest["test"] == whole["test"]
    last = [tmp_path / name / "checkpoints" / "last.ckpt" for name in ("whole", "rest")]
    assert same(weights(last[0]), weights(last[1]))
    monitor = f"val/{whole['monitor']}"
    with (tmp_path / "whole" / "metrics.csv").open() as file:
        curve = [float(row[monitor]) for row in csv.DictReader(file) if row[monitor]]
    worse = sum(value <= max(curve[:epoch]) for epoch, value in enumerate(curve) if epoch)
    assert learning_rate(last[1]) == learning_rate(last[0]) == pytest.approx(0.1 * 0.5**worse)


def test_a_model_starts_from_a_trained_one(tmp_path: Path) -> None:
    fmlab(tmp_path / "fm", "model=fm", "model.dim=4", "trainer.max_epochs=3")
    trained = tmp_path / "fm" / "checkpoints" / "best.ckpt"
    settings = ("model=ifm", "model.dim=4", "loss=bpr", "optimizer=sgd", "optimizer.lr=1e-9", "trainer.max_epochs=1")
    fmlab(tmp_path / "ifm", *settings, f"warm_start=[{trained}]")
    first, then = weights(trained), weights(tmp_path / "ifm" / "checkpoints" / "best.ckpt")
    torch.testing.assert_close(then["model.table.weight"], first["model.table.weight"])
    process = fmlab(tmp_path / "mf", "model=mf", f"warm_start=[{trained}]", wait=False)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 2
    assert "warm_start needs a model that can start from trained ones, mf cannot" in output


def test_sizes_are_read_from_a_first_training_and_kept_for_good(tmp_path: Path) -> None:
    fmlab(tmp_path / "first", "model=fmfm", "model.dim=4", "trainer.max_epochs=1")
    trained = tmp_path / "first" / "checkpoints" / "best.ckpt"
    settings = ("model=fmfm", "model.variance=0.5", f"warm_start=[{trained}]", "trainer.max_epochs=1")
    fmlab(tmp_path / "second", *settings)
    dims = metrics(tmp_path / "second")["model_options"]["dims"]
    assert max(dims) < 4
    assert load_model(tmp_path / "second" / "checkpoints" / "best.ckpt").dims == tuple(dims)


def test_ctrl_c_leaves_a_run_that_can_be_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    process = fmlab(folder, "model=fm", "trainer.max_epochs=5000", "trainer.patience=null", wait=False)
    for _ in range(1200):
        if (folder / "checkpoints" / "last.ckpt").is_file() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "ckpt_path=" in output
    assert "Traceback" not in output
    assert metrics(folder)["status"] == "interrupted"
    epoch = read_checkpoint(folder / "checkpoints" / "last.ckpt")["epoch"]
    again = ("model=fm", "trainer.patience=null", f"trainer.max_epochs={epoch + 2}")
    fmlab(tmp_path / "resumed", *again, f"ckpt_path={folder}/checkpoints/last.ckpt")
    assert metrics(tmp_path / "resumed")["status"] == "complete"


NORMALIZED = ("model=deepfm", "model.hidden=[16]", "model.dropout=0", "model.batch_norm=true")


@pytest.mark.parametrize("model", [("model=fm",), ("model=lorentzfm",), NORMALIZED], ids=lambda m: m[0])
def test_two_processes_give_the_metrics_of_one(model: tuple[str, ...], tmp_path: Path) -> None:
    # In float32 two nearly equal scores may change places; in float64 none do.
    settings = (*model, "trainer.max_epochs=3", "seed=3", "trainer.precision=64-true")
    fmlab(tmp_path / "one", *settings)
    fmlab(tmp_path / "two", *settings, "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert two["test"] == pytest.approx(one["test"], abs=1e-6)
    assert two["validation"] == pytest.approx(one["validation"], abs=1e-6)
    units = [np.load(tmp_path / n / "units.npz") for n in ("one", "two")]
    assert all(len(units[0][k]) == len(units[1][k]) for k in units[0].files)
